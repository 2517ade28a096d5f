"""Settings of the RSSM; an agent's own `Config` extends them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Literal

from wm.errors import UserError
from wm.nets.codec import CodecConfig
from wm.ops import transforms
from wm.types import EnvSpec


@dataclasses.dataclass(frozen=True)
class RSSMConfig:
    """Sizes and losses of an `RSSM`. Defaults are DreamerV3's size1m, the smallest.

    Source: danijar/dreamerv3 e3f0224, configs.yaml.
    """

    deter: int = 512
    """Size of the recurrent state h (512 for size1m, 8192 for size200m)."""
    hidden: int = 64
    """Width of the layers around the recurrent core (64 for size1m)."""
    groups: int = 32
    """Categorical latents per state (32 at every size)."""
    classes: int = 4
    """Classes of each (4 for size1m, 64 for size200m)."""
    blocks: int = 8
    """Diagonal blocks of the core and of the image projection (8)."""
    depth: int = 4
    """Image channels are multiples of this (4 for size1m)."""
    multipliers: tuple[int, ...] = (2, 3, 4, 4)
    """Channels of each image stage in units of depth; each halves the image."""
    kernel: int = 5
    """Size of image kernels, pixels (5)."""
    units: int = 64
    """Width of all heads and of the vector codec (64 for size1m)."""
    vector_layers: int = 3
    """Hidden layers of vector encoder and decoder (3)."""
    prior_layers: int = 2
    """Hidden layers from h to the prior (2)."""
    head_layers: int = 1
    """Hidden layers of the reward and continue heads (1)."""
    act: str = "silu"
    """Activation of all hidden layers."""
    norm: Literal["rms", "layer", "none"] = "rms"
    """Norm of all hidden layers."""
    bias: bool = True
    """Whether layers with a norm have a bias too (2023: no)."""
    fan: Literal["in", "average"] = "in"
    """What initial kernels are scaled by: inputs, or inputs and outputs (2023)."""
    codec: Literal["pool", "strided"] = "pool"
    """Image stages: 5x5 convolutions and 2x2 maxima, or strided 4x4 ones that double
    the channels (2023; `multipliers` and `kernel` are then ignored)."""
    core: Literal["block_gru", "norm_gru"] = "block_gru"
    """Recurrent core; norm_gru is the dense one of 2023."""
    scalars: Literal["symexp", "symlog"] = "symexp"
    """Code of rewards and values: bins spaced by symexp, or even in symlog space."""
    bins: int = 255
    """Bins of rewards and values (255)."""
    symlog: bool = True
    """Squash vector observations by sign(x) log(1 + |x|)."""
    unimix: float = 0.01
    """Share of the uniform distribution in every latent's (0.01)."""
    free: float = 1.0
    """KL below which a step's latents cost nothing, nats (1)."""
    horizon: float = 333.0
    """Discount horizon, steps: gamma is 1 - 1/horizon (333)."""
    soft_continue: bool = True
    """Fold gamma into the target of the continue head (contdisc); otherwise
    imagination ends where the head says so, and starts with the true flag (2023)."""
    learned_start: bool = False
    """Learn the state that episodes start in, instead of zeros (2023)."""
    replay_context: bool = True
    """Continue sequences from stored latents; otherwise each starts anew (2023)."""
    rec_scale: float = 1.0
    """Weight of reconstruction losses (1); raise it for short vectors."""
    reward_scale: float = 1.0
    """Weight of the reward loss (1)."""
    continue_scale: float = 1.0
    """Weight of the continue loss (1)."""
    dyn_scale: float = 1.0
    """Weight of the KL that trains the prior (1)."""
    rep_scale: float = 0.1
    """Weight of the KL that trains the posterior (0.1)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type of the nets; bfloat16 gains on accelerators only."""
    hide_actions: bool = False
    """For ablation: the core never sees an action."""
    reset_every_step: bool = False
    """For ablation: observing forgets the past at every step."""

    def __post_init__(self):
        for name in ("deter", "hidden", "groups", "classes", "blocks", "depth"):
            require(name, getattr(self, name) >= 1, "at least 1", self)
        for name in ("kernel", "units", "vector_layers", "prior_layers", "head_layers"):
            require(name, getattr(self, name) >= 1, "at least 1", self)
        require("horizon", self.horizon >= 1, "at least 1", self)
        require("bins", self.bins >= 3, "at least 3", self)
        require("free", self.free >= 0, "at least 0", self)
        require("unimix", 0 <= self.unimix < 1, "in [0, 1)", self)
        require("classes", self.classes <= 32_767, "at most 32767", self)
        divides = self.deter % self.blocks == 0
        require("blocks", divides, f"a divisor of deter {self.deter}", self)
        for name in ("rec", "reward", "continue", "dyn", "rep"):
            name = f"{name}_scale"
            require(name, getattr(self, name) >= 0, "at least 0", self)

    def codec_config(self) -> CodecConfig:
        """Settings of encoder and decoder."""
        return CodecConfig(
            depth=self.depth,
            multipliers=tuple(self.multipliers),
            units=self.units,
            layers=self.vector_layers,
            kernel=self.kernel,
            act=self.act,
            norm=self.norm,
            symlog=self.symlog,
            blocks=self.blocks,
            dtype=self.dtype,
        )

    def model_scales(self, names: Iterable[str]) -> dict[str, float]:
        """Weight of each of the model's loss terms."""
        return {name: getattr(self, f"{name.split('/')[0]}_scale") for name in names}


def require(name: str, holds: bool, allowed: str, config) -> None:
    """Raise UserError naming `--agent.NAME` unless `holds`."""
    if not holds:
        value = getattr(config, name)
        raise UserError(f"--agent.{name} must be {allowed}, got {value}")


def action_size(spec: EnvSpec) -> int:
    """Length of an action vector: classes, or numbers.

    Raises:
      UserError: several discrete actions at once, or more than one player.
    """
    action = spec.action
    if action.discrete and action.shape:
        raise UserError(
            f"{spec.name} takes {math.prod(action.shape)} discrete actions at once; "
            "the RSSM takes one"
        )
    if spec.players != 1:
        raise UserError(f"{spec.name} has {spec.players} players; the RSSM knows one")
    return action.classes if action.classes else math.prod(action.shape)


def scalar_bins(config: RSSMConfig) -> transforms.TwoHot:
    """The two-hot code of rewards and values."""
    code = {"symexp": transforms.symexp_two_hot, "symlog": transforms.symlog_two_hot}
    return code[config.scalars](config.bins)
