"""Noise that makes a model draw given classes, and the golden agents' settings."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from wm.agents.dreamer_v3 import DreamerV3
from wm.agents.dreamer_v3_config import Config
from wm.models.rssm import RSSM
from wm.models.rssm_state import RSSMState
from wm.ops.distributions import OneHot
from wm.types import ArraySpec, EnvSpec, TimeStep

KINDS = ("disc", "cont")
CONFIG = Config(
    deter=64,
    hidden=16,
    groups=4,
    classes=4,
    units=32,
    depth=4,
    multipliers=(2, 4),
    imagine_length=5,
    learning_rate=1e-3,
    warmup_steps=2,
)


def agent(kind: str) -> DreamerV3:
    """The agent of `agent_disc.npz` or `agent_cont.npz`."""
    return DreamerV3(spec(kind), CONFIG)


def spec(kind: str) -> EnvSpec:
    """Image and vector; six discrete actions or three continuous numbers."""
    observation = {"image": ArraySpec((16, 16, 3), "uint8"), "vector": ArraySpec((5,))}
    action = ArraySpec((), "int32", 6) if kind == "disc" else ArraySpec((3,))
    return EnvSpec(observation, action)


def middle(logits: jax.Array, index: np.ndarray, unimix: float = 0.01) -> jax.Array:
    """Uniforms in the middle of what makes a draw from `logits` give `index`."""
    edges = jnp.cumsum(OneHot(logits, unimix).probs, -1)
    below = jnp.concatenate([jnp.zeros_like(edges[..., :1]), edges[..., :-1]], -1)
    point = (edges + below) / 2 / edges[..., -1:]
    return jnp.take_along_axis(point, index[..., None], -1)[..., 0]


def state_of(deter, index) -> RSSMState:
    """State with given class indices."""
    return RSSMState(deter=jnp.asarray(deter), stoch=jax.nn.one_hot(index, 4))


def evidence_of(tokens, is_first) -> TimeStep:
    """Encoded time steps that only the posterior reads."""
    zeros = jnp.zeros(is_first.shape)
    return TimeStep(
        observation=jnp.asarray(tokens),
        reward=zeros,
        discount=zeros + 1,
        is_first=jnp.asarray(is_first),
        is_last=zeros > 0,
    )


def posterior_noise(model: RSSM, params, state, actions, evidence, index) -> jax.Array:
    """Uniforms `[N, L, G]` for which `observe_sequence` draws `index`."""
    noise = []
    for t in range(index.shape[1]):
        now = lambda x, t=t: x[:, t : t + 1]
        states, logits = model.observe_sequence(
            params,
            jnp.zeros((*index.shape[:1], 1, index.shape[2])),
            state,
            now(actions),
            jax.tree.map(now, evidence),
        )
        noise.append(middle(logits[:, 0], index[:, t]))
        state = state_of(states.deter[:, 0], index[:, t])
    return jnp.stack(noise, 1)


def prior_noise(model: RSSM, params, state, actions, index) -> jax.Array:
    """Uniforms `[H, N, G]` for which H steps from `state` draw `index` `[N, H, G]`."""
    noise = []
    for t in range(index.shape[1]):
        zeros = jnp.zeros(index[:, t].shape)
        deter = model.advance(params, zeros, state, actions[:, t]).deter
        noise.append(middle(model.prior(params, deter), index[:, t]))
        state = state_of(deter, index[:, t])
    return jnp.stack(noise)
