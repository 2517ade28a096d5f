"""Seconds of LightZero's acting and of its learner's updates, for comparison.

Runs opendilab/LightZero 0.2.0 as it is, its C++ trees included, on random data, with a
Python that has it (`pip install --no-deps lightzero DI-engine==0.5.3` and what they
name missing, beside torch and numpy below 2). Its nets are cut to what ours consist
of; parts that are left have the same sizes. Sizes are those of `benchmarks.muzero`,
which starts this and asks for one measurement a line.

    taskset -c 0 PYTHON benchmarks/peer_lightzero.py mlp|board|atari
"""

# Only of the peer's Python: nothing here imports wm or jax.

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings

import numpy as np

NETS = {
    "mlp": {"shape": (4,), "actions": 2, "latent": 128, "memory": 128},
    "board": {"shape": (6, 7, 2), "actions": 7, "channels": 64, "memory": 512},
    "atari": {"shape": (96, 96, 4), "actions": 6, "channels": 64, "memory": 512},
}
"""Observation `[F]` or `[H, W, C]`, actions, width, units of EfficientZero's LSTM."""
HEAD, PLANES, BINS = 32, 16, 601
"""Width of heads, channels they read planes by, bins of value and reward."""
BATCH, UNROLL = 256, 5
SIMULATIONS, MOVES_SIMULATIONS = 50, 32
"""Of acting, and of self-play."""
NOISE, ALPHA = 0.25, 0.3
ENVS = (1, 64)


class Peer:
    """LightZero in a process of its own, which measures when asked and else waits."""

    def __init__(self, python: str, net: str):
        """Start it for one of `NETS`."""
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [python, __file__, net],
            stdin=pipe,
            stdout=pipe,
            text=True,
        )

    def ask(self, what: str, seconds: float) -> dict[str, float]:
        """`{"wall_s", "cpu_s"}` of one of `what`, done for about `seconds`; and
        `parameters`."""
        print(what, seconds, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()  # pyright: ignore
        if not line:
            raise RuntimeError(f"LightZero stopped with {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


def main() -> None:
    """Answer every line `WHAT SECONDS` with one of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("net", choices=NETS)
    net = parser.parse_args().net
    warnings.simplefilter("ignore")
    # It talks while it is imported: only answers are to go to the pipe.
    answers, sys.stdout = sys.stdout, sys.stderr
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    known = {}
    for line in sys.stdin:
        what, seconds = line.split()
        if what not in known:
            call, policy = case(net, what)
            call()
            known[what] = call, sum(p.numel() for p in policy._model.parameters())
        call, count = known[what]
        answer = {**timed(call, float(seconds)), "parameters": count}
        print(json.dumps(answer), file=answers, flush=True)


def timed(call, seconds: float) -> dict[str, float]:
    """Seconds of one call, done for about `seconds`."""
    start, start_cpu, count = time.perf_counter(), time.process_time(), 0
    while not count or time.process_time() - start_cpu < seconds:
        call()
        count += 1
    wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    return {"wall_s": wall / count, "cpu_s": cpu / count}


def case(net: str, what: str):
    """What `benchmarks.muzero` calls so: a function, and its policy."""
    if what.startswith("act"):
        built = policy(net, "muzero", SIMULATIONS)
        return acting(net, built, int(what[3:])), built
    if what.startswith("play"):
        built = policy(net, "muzero", MOVES_SIMULATIONS)
        return acting(net, built, int(what[4:])), built
    built = policy(net, what, SIMULATIONS)
    return learning(net, built, what), built


def policy(net: str, what: str, simulations: int):
    """LightZero's policy `muzero` or `efficientzero`; `preset` is `muzero` with the
    settings and the whole net of its cart-pole preset."""
    from ding.utils import deep_merge_dicts
    from easydict import EasyDict
    from lzero.policy.efficientzero import EfficientZeroPolicy
    from lzero.policy.muzero import MuZeroPolicy

    kind = EfficientZeroPolicy if what == "efficientzero" else MuZeroPolicy
    sizes = NETS[net]
    compared = what != "muzero"
    model = {
        "model_type": "mlp" if net == "mlp" else "conv",
        "action_space_size": sizes["actions"],
        "self_supervised_learning_loss": compared,
        "lstm_hidden_size": sizes["memory"],
    }
    if net == "mlp":
        model |= {
            "observation_shape": sizes["shape"][0],
            "latent_state_dim": sizes["latent"],
            "res_connection_in_dynamics": what == "preset",
        }
    else:
        height, width, channels = sizes["shape"]
        model |= {
            "observation_shape": (channels, height, width),
            "image_channel": channels,
            "num_channels": sizes["channels"],
            "downsample": net == "atari",
        }
    settings = {
        "cuda": False,
        "device": "cpu",
        "model": model,
        "env_type": "board_games" if net == "board" else "not_board_games",
        "discount_factor": 1.0 if net == "board" else 0.997,
        "num_simulations": simulations,
        "batch_size": BATCH,
        "num_unroll_steps": UNROLL,
        "optim_type": "Adam",
        "learning_rate": 3e-3,
        "piecewise_decay_lr_scheduler": False,
        "ssl_loss_weight": 2 if compared else 0,
        "fixed_temperature_value": 1.0,
        "root_noise_weight": NOISE,
        "root_dirichlet_alpha": ALPHA,
    }
    config = EasyDict(deep_merge_dicts(EasyDict(kind.default_config()), settings))
    built = kind(config, enable_field=["learn", "collect"])
    if what != "preset":
        cut(net, built._model)
        built._init_learn()  # its optimizer and target net are of the whole net else
    return built


def cut(net: str, model) -> None:
    """Take out, in place, what our nets have no counterpart of: layers between latent
    and heads, and all but one convolution of the second halving. Weights that begin at
    zero are drawn: all values would be alike, and trees flat."""
    from torch import nn

    predict = model.prediction_network
    if net == "mlp":
        predict.fc_prediction_common = nn.Identity()
    else:
        predict.resblocks = nn.ModuleList()
    if net == "atari":
        width = NETS[net]["channels"]
        model.representation_network.downsample_net.downsample_block = nn.Sequential(
            nn.Conv2d(width // 2, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
    for weights in model.parameters():
        if weights.ndim == 2 and not weights.any():
            nn.init.normal_(weights, 0.0, 0.1)


def acting(net: str, built, envs: int):
    """A function that searches and draws an action for `envs` observations."""
    import torch

    sizes = NETS[net]
    generator = np.random.default_rng(0)
    seen = torch.from_numpy(observations(net, generator, envs, 1))
    mask = [np.ones(sizes["actions"], np.int8)] * envs
    player = [1 if net == "board" else -1] * envs
    return lambda: built._forward_collect(seen, mask, 1.0, player)


def learning(net: str, built, what: str):
    """A function that updates the net once, on a batch with its targets."""
    sizes = NETS[net]
    generator = np.random.default_rng(0)
    normal = lambda *shape: generator.normal(size=shape).astype(np.float32)
    # Compared with what was observed later: all records of the unroll are needed.
    records = 1 if what == "muzero" else 1 + UNROLL
    policies = generator.dirichlet([1.0] * sizes["actions"], (BATCH, 1 + UNROLL))
    current = [
        observations(net, generator, BATCH, records),
        generator.integers(0, sizes["actions"], (BATCH, UNROLL)),
        np.ones((BATCH, 1 + UNROLL), np.float32),
        np.arange(BATCH),
        np.ones(BATCH, np.float32),
        np.zeros(BATCH),
    ]
    targets = [
        normal(BATCH, 1 + UNROLL, 1),
        normal(BATCH, 1 + UNROLL, 1),
        policies.astype(np.float32),
    ]
    return lambda: built._forward_learn([current, targets])


def observations(net: str, generator, rows: int, records: int) -> np.ndarray:
    """f32 `[rows, records · F]` or `[rows, records · C, H, W]`."""
    if net == "mlp":
        shape = (rows, records * NETS[net]["shape"][0])
    else:
        height, width, channels = NETS[net]["shape"]
        shape = (rows, records * channels, height, width)
    return generator.uniform(size=shape).astype(np.float32)


if __name__ == "__main__":
    main()
