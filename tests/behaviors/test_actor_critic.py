"""Gradients of the actor's losses against finite differences of plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.behaviors.actor_critic import Actor, ActorCritic, Dream
from wm.nets.net import Net
from wm.ops import transforms
from wm.ops.normalizers import PercentileScale
from wm.types import ArraySpec

H, TRACE, SURVIVAL, ENTROPY = 3, 0.8, 0.9, 0.05
BINS, WEIGHTS = 9, np.array([0.3, -0.2, 0.1, 0.4, -0.5, 0.2, 0.6, -0.1, 0.3])
NOISE = np.array([0.7, -1.1, 0.4])
START, THETA = 0.8, np.array([-0.4, 0.3])
RATE, FLOOR, LOW, HIGH = 0.5, 0.1, 5.0, 95.0


def behavior(pathwise: bool) -> ActorCritic:
    """A policy with mean and deviation of one number each, a linear critic."""
    head = lambda theta, x: (theta[:1] * x, theta[1:] + 0 * x)
    actor = Actor(
        features=lambda x: x,
        head=Net(lambda key, x: jnp.zeros(2), head),
        spec=ArraySpec((1,)),
    )
    critic = Net(lambda key, x: jnp.zeros(BINS), lambda weights, x: weights * x)
    return ActorCritic(
        actor=actor,
        critic=critic,
        code=transforms.symexp_two_hot(BINS, limit=1.0),
        normalizer=PercentileScale(RATE, LOW, HIGH, FLOOR),
        trace=TRACE,
        entropy=ENTROPY,
        regularizer=1.0,
        pathwise=pathwise,
    )


def ours(theta, pathwise: bool):
    """The actor's mean loss in a world where x' = 0.9 x + a earns −x'²."""
    both = behavior(pathwise)
    params = {"policy": {"actor": theta, "critic": jnp.array(WEIGHTS)}}
    x, states, actions = jnp.full((1, 1), START), [], []
    for t in range(H):
        _, action, _ = both.actor.act(params, jnp.full((1, 1), NOISE[t]), (), x)
        states.append(x)
        actions.append(action)
        x = 0.9 * x + action
    after = jnp.stack([*states[1:], x])
    if not pathwise:
        after, x = jax.lax.stop_gradient((after, x))
        states, actions = jax.lax.stop_gradient((states, actions))
    dream = Dream(
        states=jnp.stack(states),
        features=jnp.stack(states),
        final=x,
        action=jnp.stack(actions),
        reward=-(after[..., 0] ** 2),
        survival=jnp.full((H + 1, 1), SURVIVAL),
    )
    scale = both.normalizer.init()
    critic = jnp.array(WEIGHTS)
    return both.imagined(params, critic, scale, dream).terms["policy"].mean()


def value(x):
    """Mean of the linear critic's distribution over symexp bins."""
    spaced = np.linspace(-1, 1, BINS)
    bins = np.sign(spaced) * np.expm1(np.abs(spaced))
    p = np.exp(WEIGHTS * x)
    return (p / p.sum() * bins).sum()


def std_of(theta):
    return 0.9 / (1 + np.exp(-theta[1] - 2)) + 0.1


def rollout(theta, seen):
    """States, with the policy reading `seen` and not what they are now."""
    xs, actions = [START], []
    for t in range(H):
        actions.append(np.tanh(theta[0] * seen[t]) + std_of(theta) * NOISE[t])
        xs.append(0.9 * xs[-1] + actions[-1])
    return np.array(xs), np.array(actions)


def visited(theta):
    """The states of a real rollout."""
    seen = np.full(H, START)
    for _ in range(H):
        seen = rollout(theta, seen)[0][:-1]
    return seen


def advantages(xs):
    target, targets = value(xs[-1]), []
    for t in reversed(range(H)):
        later = value(xs[t + 1])
        target = -(xs[t + 1] ** 2) + SURVIVAL * ((1 - TRACE) * later + TRACE * target)
        targets.insert(0, target)
    return np.array(targets) - [value(x) for x in xs[:-1]], np.array(targets)


def theirs(theta, pathwise: bool, base):
    """The same loss; what has no gradient is taken at `base`."""
    seen = visited(base)
    fixed, actions = rollout(base, seen)
    advantage, targets = advantages(fixed)
    spread = max(RATE * np.subtract(*np.percentile(targets, [HIGH, LOW])), FLOOR)
    gain = advantages(rollout(theta, seen)[0])[0] / spread
    std = std_of(theta)
    if not pathwise:
        z = (actions - np.tanh(theta[0] * seen)) / std
        log_prob = -0.5 * z**2 - np.log(std) - 0.5 * np.log(2 * np.pi)
        gain = log_prob * advantage / spread
    entropy = np.log(std) + 0.5 * np.log(2 * np.pi * np.e)
    weight = SURVIVAL ** np.arange(1, H + 1)
    return -(weight * (gain + ENTROPY * entropy)).mean()


@pytest.mark.parametrize("pathwise", [False, True])
def test_the_actor_follows_the_gradient_it_should(pathwise):
    gradient = jax.grad(ours)(jnp.array(THETA), pathwise)
    step = 1e-6
    expected = [
        (theirs(THETA + d, pathwise, THETA) - theirs(THETA - d, pathwise, THETA))
        / (2 * step)
        for d in step * np.eye(2)
    ]
    np.testing.assert_allclose(gradient, expected, rtol=1e-4)


def test_the_losses_are_the_same_number():
    for pathwise in (False, True):
        loss = ours(jnp.array(THETA), pathwise)
        np.testing.assert_allclose(loss, theirs(THETA, pathwise, THETA), rtol=1e-4)
