"""Planners on tasks whose best return is known, or only compared: shared by tests."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

import wm
from wm.imagine import act_in
from wm.models.rules import rules
from wm.planners.sequences import discounted


def returns(env, make, starts=16, steps=None, seed=0):
    """Return of every start, and where it started, when `make(model, objective)` plans.

    One compiled program; episodes of `steps`, by default the time limit.
    """
    env = wm.env(env, rules=True) if isinstance(env, str) else env
    model = rules(env.env)
    policy = act_in(model, make(model, discounted()))
    batched = wm.batch(env, "off")
    params = model.init(jax.random.key(0))
    key_env, key_act = jax.random.split(jax.random.key(seed))

    @jax.jit
    def play(key_env, key_act):
        state, timestep = batched.reset(key_env, starts)

        def body(loop, key):
            state, timestep, carry = loop
            carry, action, _ = policy.act(params, key, carry, timestep)
            state, timestep = batched.step(state, action)
            return (state, timestep, carry), timestep.reward

        loop = (state, timestep, policy.start(params, starts))
        keys = jax.random.split(key_act, steps or env.spec.time_limit)
        return timestep.observation, jax.lax.scan(body, loop, keys)[1].sum(0)

    begun, found = play(key_env, key_act)
    return np.asarray(found), np.asarray(begun)


def regret(make, size=1, starts=16, seed=0):
    """Σ cost / Σ least cost − 1 on the double integrator."""
    env = wm.env("probe/double_integrator", size=size, rules=True)
    found, begun = returns(env, make, starts, seed=seed)
    best = least_costs(begun.reshape(starts, 2, size).swapaxes(1, 2)).sum()
    return float(-found.sum() / best - 1)


@functools.cache
def quadratic(T=50):
    """H `[T, T]`, G `[T, 2]`, C `[2, 2]`: one point costs uᵀHu + 2 uᵀGx + xᵀCx."""
    A, B = np.array([[1, 0.1], [0, 1]]), np.array([0.02, 0.4])
    free, forced, columns = [], [], np.zeros((2, T))
    power = np.eye(2)
    for t in range(T):
        columns = A @ columns
        columns[:, t] = B
        power = A @ power
        forced.append(columns.copy())
        free.append(power)
    Q = np.diag([1, 0.1])
    H = sum(F.T @ Q @ F for F in forced) + 0.01 * np.eye(T)
    G = sum(F.T @ Q @ P for F, P in zip(forced, free, strict=True))
    return H, G, sum(P.T @ Q @ P for P in free)


def least_costs(x, iterations=3000):
    """Least cost from every start `[..., 2]` with |u| ≤ 1: a quadratic program, by
    accelerated projected gradient (step 1 / λ_max)."""
    H, G, C = quadratic()
    x = np.asarray(x, np.float64).reshape(-1, 2)
    step = 1 / np.linalg.eigvalsh(H)[-1]
    u = y = np.zeros((len(x), len(H)))
    weight = 1.0
    for _ in range(iterations):
        new = np.clip(y - step * (y @ H + x @ G.T), -1, 1)
        after = (1 + np.sqrt(1 + 4 * weight**2)) / 2
        y, u, weight = new + (weight - 1) / after * (new - u), new, after
    return (
        np.einsum("bi,ij,bj->b", u, H, u)
        + np.einsum("bi,ij,bj->b", x, C, x)
        + 2 * np.einsum("bi,ij,bj->b", u, G, x)
    )


def idle(model, objective):
    """No action at all."""
    size = model.spec.action.shape
    from wm.planners.sequences import Given

    class Idle(Given):
        def act(self, params, key, carry, x):
            return carry, jnp.zeros((jax.tree.leaves(x)[0].shape[0], *size)), {}

    return Idle()
