"""A model held to what really happened: values of the record, derivatives of the model.

Rolled by `imagine` along a recorded trajectory it gives the record back, and gradients
pass through the model's Jacobians at the real states. That is a rollout whose additive
noise ξ = s' − f(s, a) was inferred from the transitions; errors of the model cannot
compound, since it never says where the next step begins. What is recorded stands in the
place of the model's key: here noise is data.

Source: Heess et al. 2015, section 3 and Algorithm 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from wm.imagine import Around, Draws, imagine
from wm.models.ensemble import Ensemble, Particles
from wm.ops.trees import Transition, where_rows, with_gradient_of
from wm.types import Params, Policy, Prediction, Tree


class Recorded(NamedTuple):
    """What followed a step; stands where a key would."""

    state: Tree
    """Model state after the step, leaves `[B, …]`."""
    reward: jax.Array
    """f32 `[B]`."""
    discount: jax.Array
    """f32 `[B]`, the environment's."""
    joined: jax.Array
    """bool `[B]`: the step led there. Where it did not (a reset between the two)
    no gradient passes."""


@dataclasses.dataclass(frozen=True)
class Anchored(Around):
    """`model`, whose steps take a `Recorded` for a key; built by `anchored`.

    The model gives the mean of the next state; what it draws is not read.
    """

    reward: Callable | None
    """`(state, action, next_state) -> f32 [B]`; if None the model's prediction, which
    then must not depend on where it thinks the step led."""

    def step(
        self, params: Params, key: Recorded, state: Tree, action: jax.Array
    ) -> tuple[Tree, Prediction]:
        """What is recorded, with the derivative of what is predicted."""
        # A mean draws nothing: any key will do.
        unread = jax.random.key(0)
        expected, prediction = self.model.step(params, unread, state, action)
        constant = jax.lax.stop_gradient(expected)
        expected = where_rows(key.joined, expected, constant)
        next_state = with_gradient_of(key.state, expected)
        reward = prediction.reward
        if self.reward is not None:
            reward = self.reward(state, action, next_state)
        reward = where_rows(key.joined, reward, jax.lax.stop_gradient(reward))
        return next_state, Prediction(
            with_gradient_of(key.reward, reward), jax.lax.stop_gradient(key.discount)
        )


def anchored(model: Ensemble) -> Anchored:
    """An ensemble held to the record; rewards are judged between real states.

    Raises:
      ValueError: an ensemble that draws noise, which cannot be inferred here.
    """
    config = model.config
    if config.gaussian or config.propagation != "mean":
        raise ValueError(
            "an anchored ensemble needs gaussian false and propagation mean, got "
            f"gaussian {config.gaussian} and propagation {config.propagation}"
        )
    if config.learn_reward:
        return Anchored(model, None)

    def reward(state: Particles, action: jax.Array, next_state: Particles):
        action = jnp.clip(action, -1.0, 1.0)
        judged = model.judge(state.observation, action, next_state.observation)
        return judged[0][:, 0]

    return Anchored(model, reward)


def recorded(step: Transition) -> tuple[Particles, Recorded]:
    """Where a trajectory begins, leaves `[B, …]`, and what followed, `[T, B, …]`.

    Args:
      step: consecutive transitions `[T, B, …]`; those whose `mask` is false are resets.
    """
    real = lambda observation: Particles(
        observation.astype(jnp.float32)[..., None, :],
        jnp.ones((*observation.shape[:-1], 1)),
    )
    follow = Recorded(
        state=real(step.next_observation),
        reward=step.reward,
        discount=step.discount,
        joined=step.mask,
    )
    return real(step.observation[0]), follow


def replayed(
    chain: Anchored, policy: Policy, params: Params, noise: jax.Array, step: Transition
) -> tuple[jax.Array, jax.Array]:
    """Replay recorded steps, differentiable through policy and model.

    Args:
      chain: of `anchored`.
      policy: acts on `Particles`; takes noise for a key.
      params: whole tree.
      noise: of the policy, `[T, B, F]`; that under which it does what was done.
      step: consecutive transitions `[T, B, …]`.

    Returns:
      The rewards f32 `[T, B]`, and the observations after each step, `[T, B, D]`: both
      as recorded in value.
    """
    begin, follow = recorded(step)
    draws, T = Draws(noise, follow), step.reward.shape[0]
    end, _, path = imagine(chain, policy, params, draws, begin, (), T)
    after = jnp.concatenate([path.state.observation[1:], end.observation[None]])
    return path.reward, after[:, :, 0]
