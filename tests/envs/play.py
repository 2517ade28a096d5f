"""Rollouts that tests of environments share."""

import jax
import jax.numpy as jnp

from wm.envs import batch, make, statistics


def episode_returns(env, policy, rows=1000, seed=0):
    """One whole episode per row; `policy(key, observation, previous observation)`.

    Returns the return of every row and its length.
    """
    batched = batch(make(env) if isinstance(env, str) else env, "off")

    @jax.jit
    def play(key):
        key_reset, key_act = jax.random.split(key)
        state, timestep = batched.reset(key_reset, rows)
        stats = statistics.update(statistics.init(rows), timestep)

        def body(loop, key):
            state, stats, now, before = loop
            state, timestep = batched.step(state, policy(key, now, before))
            stats = statistics.update(stats, timestep)
            return (state, stats, timestep.observation, now), None

        observation = timestep.observation
        loop = (state, stats, observation, observation)
        keys = jax.random.split(key_act, batched.spec.time_limit)
        stats = jax.lax.scan(body, loop, keys)[0][1]
        return stats.last_return, stats.last_length

    return play(jax.random.key(seed))


def random_policy(spec, rows=1000):
    """Uniform actions, whatever is observed."""

    def policy(key, observation, previous):
        shape = (rows, *spec.action.shape)
        if spec.action.discrete:
            return jax.random.randint(key, shape, 0, spec.action.classes)
        return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)

    return policy


def feedback(position_gain, velocity_gain, velocity):
    """Clipped linear feedback; `velocity(now, before)` reads it off observations."""

    def policy(key, now, before):
        push = -position_gain * now[:, :1] - velocity_gain * velocity(now, before)
        return jnp.clip(push, -1.0, 1.0)

    return policy
