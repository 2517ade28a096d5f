"""Open-loop prediction: what a model expects after a few frames, beside the truth.

Needs the WorldModel contract only, `decode` included. Drawing is the report's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wm.imagine import imagine, open_loop
from wm.train.evaluate import frozen
from wm.train.host_env import timestep_of
from wm.types import Batch, Key, Params, Step, TimeStep, Tree, WorldModel


class Dream(NamedTuple):
    """Truth and prediction of N sequences of L frames, the first `context` observed.

    Where `truth` is a dict, so are `imagined` and `error`.
    """

    truth: Tree
    """Observations `[N, L, …]` as the environment gave them."""
    imagined: Tree
    """The model's: reconstructions in the context, predictions after it; images f32
    in [0, 1]."""
    error: Tree
    """f32 `[N, L]`: mean absolute difference; images in [0, 1]."""
    reward: jax.Array
    """f32 `[N, L]`, the environment's."""
    imagined_reward: jax.Array
    """f32 `[N, L]`, NaN in the context."""
    imagined_discount: jax.Array
    """f32 `[N, L]`, NaN in the context."""
    valid: jax.Array
    """bool `[N, L]`: the episode of the first frame was not over before this frame."""
    context: jax.Array
    """i32: observed frames."""


def open_loop_dream(
    model: WorldModel, params: Params, key: Key, batch: Batch | Step, context: int = 5
) -> Dream:
    """Observe `context` frames, then imagine the rest from the actions alone.

    The model starts afresh before the first frame, wherever in an episode that is.
    It does not know of resets, so frames after the end of an episode mean nothing;
    `valid` says which.

    Args:
      model: with `decode`.
      params: whole tree.
      key: consumed.
      batch: `[N, L, …]` consecutive steps, from replay or from `play`.
      context: observed frames, at least 1 and below L.

    Raises:
      ValueError: no `decode`, or a context that leaves nothing to imagine.

    Source: Hafner et al. 2019 (PlaNet), Figure 8: five context frames, then open loop.
    """
    steps = Step(batch.timestep._replace(private=None), batch.action, {})
    frames = steps.timestep.is_first.shape[1]
    if not hasattr(model, "decode"):
        raise ValueError(f"{type(model).__name__} has no decode: nothing to look at")
    if not 1 <= context < frames:
        raise ValueError(f"context must be in [1, {frames}), got {context}")

    def predict(params, key, steps):
        return _predict(model, params, key, steps, context)

    imagined, reward, discount = jax.jit(predict)(params, key, steps)
    truth = steps.timestep.observation
    unknown = jnp.full((reward.shape[0], context), jnp.nan)
    return Dream(
        truth=truth,
        imagined=imagined,
        error=jax.tree.map(_error, truth, imagined),
        reward=steps.timestep.reward,
        imagined_reward=jnp.concatenate([unknown, reward], 1),
        imagined_discount=jnp.concatenate([unknown, discount], 1),
        valid=within_first_episode(steps.timestep),
        context=jnp.asarray(context, jnp.int32),
    )


def _predict(model, params, key, steps, context):
    """Decoded observations `[N, L, …]`; rewards and discounts `[N, L - context]`."""
    key_observe, key_imagine = jax.random.split(key)
    rows, frames = steps.timestep.is_first.shape
    time_first = lambda tree: jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)
    actions = time_first(steps.action)
    # observe takes the action that led to its frame; none led to the first.
    previous = jax.tree.map(
        lambda a: jnp.concatenate([jnp.zeros_like(a[:1]), a[: context - 1]]), actions
    )
    seen = jax.tree.map(lambda x: x[:, :context], steps.timestep)
    evidence = time_first(model.encode(params, seen))

    def observe(state, inputs):
        key, action, evidence = inputs
        state = model.observe(params, key, state, action, evidence)
        return state, state

    keys = jax.random.split(key_observe, context)
    last, observed = jax.lax.scan(
        observe, model.start(params, rows), (keys, previous, evidence)
    )
    horizon = frames - context
    policy = open_loop(jax.tree.map(lambda a: a[context - 1 : -1], actions))
    final, _, trajectory = imagine(
        model, policy, params, key_imagine, last, policy.start(params, rows), horizon
    )
    # state[t] precedes action[t]: state 0 is the last observed one, counted above.
    states = jax.tree.map(
        lambda a, b, c: jnp.concatenate([a, b[1:], c[None]]),
        observed,
        trajectory.state,
        final,
    )
    flat = jax.tree.map(lambda x: x.reshape(frames * rows, *x.shape[2:]), states)
    decoded = jax.tree.map(
        lambda x, truth: _float(x, truth).reshape(frames, rows, *x.shape[1:]),
        model.decode(params, flat),
        steps.timestep.observation,
    )
    return time_first((decoded, trajectory.reward, trajectory.discount))


def _float(x: jax.Array, truth: jax.Array) -> jax.Array:
    """Float32; bytes become [0, 1]. A decoder may give an image in either form."""
    scale = 255.0 if x.dtype == jnp.uint8 and truth.dtype == jnp.uint8 else 1.0
    return x.astype(jnp.float32) / scale


def _error(truth: jax.Array, imagined: jax.Array) -> jax.Array:
    difference = jnp.abs(_float(truth, truth) - imagined)
    return difference.reshape(*difference.shape[:2], -1).mean(-1)


def within_first_episode(timestep: TimeStep) -> jax.Array:
    """bool `[N, L]`: no frame before this one was the last of its episode."""
    ended = jnp.cumsum(timestep.is_last, 1) - timestep.is_last
    return ended == 0


def play(
    agent: Any, env: Any, state: Tree, key: Key, rows: int, frames: int
) -> tuple[Step, jax.Array]:
    """Act in evaluation mode from the start of an episode on.

    Args:
      agent: an `Agent`.
      env: an `Env`, a `BatchEnv`, or a `HostEnv` (which plays all its instances).
      state: the agent's state.
      key: consumed.
      rows: episodes to return.
      frames: frames per row; rows whose episode is over go on without meaning.

    Returns:
      `Step` `[rows, frames, …]` without extras, and bool `[rows, frames]`, true up to
      the end of the first episode.
    """
    actor = agent.actor(state)
    if hasattr(env, "num_envs"):
        steps = _play_host(agent, env, actor, key, frames)
        steps = jax.tree.map(lambda x: x[:rows], steps)
    else:
        env = frozen(env)
        steps = jax.jit(
            lambda actor, env, key: _play(agent, env, actor, key, rows, frames)
        )(actor, env, key)
    return steps, within_first_episode(steps.timestep)


def _play(agent, env, actor, key, rows, frames) -> Step:
    key_env, key_act = jax.random.split(key)
    env_state, timestep = env.reset(key_env, rows)

    def body(loop, key):
        env_state, timestep, carry = loop
        carry, action, _ = agent.act(actor, key, carry, timestep, "eval")
        step = Step(timestep._replace(private=None), action, {})
        env_state, timestep = env.step(env_state, action)
        return (env_state, timestep, carry), step

    loop = (env_state, timestep, agent.start(actor, rows))
    _, steps = jax.lax.scan(body, loop, jax.random.split(key_act, frames))
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), steps)


def _play_host(agent, env, actor, key, frames) -> Step:
    act = jax.jit(lambda *inputs: agent.act(*inputs, "eval"))
    timestep, carry, steps = env.reset(), agent.start(actor, env.num_envs), []
    for key_act in jax.random.split(key, frames):
        timestep = timestep_of(timestep)
        carry, action, _ = act(actor, key_act, carry, timestep)
        action = jax.device_get(action)
        # A host environment may hand out the same memory again.
        steps.append(jax.tree.map(np.array, Step(timestep, action, {})))
        timestep = env.step(action)
    return jax.tree.map(lambda *frames: jnp.stack(frames, 1), *steps)


def window(steps: Step, valid: jax.Array, frames: int, rows: int) -> Step:
    """The `rows` longest episodes, `frames` of each or as many as the longest has.

    Where all of them last twice as long, their second half is taken: starts of
    episodes are alike and dull.

    Args:
      steps: `[N, L, …]`, each row starting with an episode.
      valid: bool `[N, L]`, as `play` returns it.
      frames: frames wanted.
      rows: episodes wanted, at most N.
    """
    lengths = np.asarray(valid).sum(1)
    order = np.argsort(-lengths, kind="stable")[:rows]
    first = frames if lengths[order].min() >= 2 * frames else 0
    last = int(min(first + frames, lengths[order].max()))
    return jax.tree.map(lambda x: x[order, first:last], steps)
