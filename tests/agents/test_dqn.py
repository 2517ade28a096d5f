import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.agents.streams import OneState, newest
from wm.agents.dqn import DQN
from wm.envs.probe_bandits import make_step_counter
from wm.errors import UserError
from wm.types import ArraySpec, Batch, EnvSpec, Index, TimeStep

TINY = {"layers": (4,)}


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    """Linear values, squared errors, double Q, two-step returns."""
    config = DQN.Config(layers=(), dueling=False, steps=2, gamma=0.9)
    env = make_step_counter()
    agent = DQN(env.spec, config)
    state, batches = newest(agent, env)
    batch = batches["replay"]
    # The stamp is a number of millions.
    seen = batch.timestep.observation.at[..., 0].set(0.0) / 10
    batch = batch._replace(timestep=batch.timestep._replace(observation=seen))
    # Another sign, so that the two nets never agree on the best action.
    slow = jax.tree.map(lambda x: -0.5 * x - 0.3, state.params)
    gradient = jax.grad(agent.loss, has_aux=True)(state.params, slow, batch)[0]

    t = jax.tree.map(lambda x: np.asarray(x, np.float64), batch.timestep)
    theta, kernel = (np.asarray(p["out"]["kernel"]) for p in (state.params, slow))
    bias, action = np.asarray(slow["out"]["bias"]), np.asarray(batch.action)
    goals, valid = [], t.is_last[:, 0] == 0
    for n in range(len(valid)):
        value = lambda k: (t.observation[n, k] @ kernel + bias)[
            (t.observation[n, k] @ theta).argmax()
        ]
        goal = t.reward[n, 1] + 0.9 * t.discount[n, 1] * value(1)
        if not t.is_last[n, 1]:
            later = t.reward[n, 2] + 0.9 * t.discount[n, 2] * value(2)
            goal = t.reward[n, 1] + 0.9 * t.discount[n, 1] * later
        goals.append(goal)

    def loss(theta):
        q = (t.observation[:, 0] @ theta)[np.arange(len(valid)), action[:, 0]]
        return (0.5 * (q - np.array(goals)) ** 2)[valid].mean()

    step, expected = 1e-6, np.zeros_like(theta, np.float64)
    for index in np.ndindex(*theta.shape):
        bump = np.zeros_like(expected)
        bump[index] = step
        expected[index] = (loss(theta + bump) - loss(theta - bump)) / (2 * step)
    assert not valid.all()
    np.testing.assert_allclose(gradient["out"]["kernel"], expected, rtol=1e-3)


def test_the_target_net_moves_when_it_is_due():
    agent = DQN(OneState().spec, DQN.Config(**TINY, target_updates=2, target_rate=1.0))
    state, batches = newest(agent, OneState())
    update = jax.jit(agent.update)
    leaf = lambda tree: np.asarray(tree["out"]["bias"])
    one = update(state, jax.random.key(0), batches)[0]
    np.testing.assert_array_equal(leaf(one.target), leaf(state.target))
    two = update(one, jax.random.key(0), batches)[0]
    np.testing.assert_array_equal(leaf(two.target), leaf(two.params))


def test_the_target_net_follows_slowly():
    config = DQN.Config(**TINY, target_rate=0.25, target_updates=1)
    agent = DQN(OneState().spec, config)
    state, batches = newest(agent, OneState())
    one = jax.jit(agent.update)(state, jax.random.key(0), batches)[0]
    leaf = lambda tree: np.asarray(tree["out"]["bias"])
    expected = 0.75 * leaf(state.target) + 0.25 * leaf(one.params)
    np.testing.assert_allclose(leaf(one.target), expected, rtol=1e-5)


@pytest.mark.parametrize("clip", [False, True])
def test_rewards_count_by_their_sign_where_asked(clip):
    """Without a discount the targets are the rewards, 5, 3 and -2."""
    agent = DQN(OneState().spec, DQN.Config(**TINY, gamma=0.0, clip_reward=clip))
    params, no = agent.init(jax.random.key(0)).params, jnp.zeros((3, 2), bool)
    reward = jnp.array([[0.0, 5.0], [0.0, 3.0], [0.0, -2.0]])
    timestep = TimeStep(jnp.ones((3, 2, 1)), reward, 1.0 - no, no, no)
    index = Index(jnp.zeros((3, 2), jnp.int32), jnp.zeros((3, 2), jnp.int32))
    batch = Batch(timestep, index.row, {}, index, jnp.ones(3))
    found = jax.jit(agent.loss)(params, params, batch)[1]["behavior/target"]
    np.testing.assert_allclose(found, (1 + 1 - 1) / 3 if clip else 2.0, rtol=1e-6)


def test_gradients_are_clipped_by_their_global_norm():
    """3 and 4 have a norm of 5; Adam's first moment is a tenth of what is left."""
    gradient = {"a": jnp.array(3.0), "b": jnp.array(4.0)}
    for most, left in ((0.5, 0.1), (10.0, 1.0), (0.0, 1.0)):
        agent = DQN(OneState().spec, DQN.Config(**TINY, max_norm=most))
        rule = agent.optimizer
        _, state = rule.update(gradient, rule.init(gradient), gradient)
        mean = optax.tree.get(state, "mu")
        np.testing.assert_allclose([mean["a"], mean["b"]], [0.3 * left, 0.4 * left])


def test_exploration_falls_with_updates():
    config = DQN.Config(**TINY, epsilon_updates=10, epsilon_end=0.1)
    agent = DQN(OneState().spec, config)
    state = agent.init(jax.random.key(0))
    chance = lambda n: agent.actor(state.replace(updates=jnp.int32(n)))[1]
    np.testing.assert_allclose([chance(0), chance(5), chance(99)], [1, 0.55, 0.1], 1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"target_rate": 2.0}, {"error": "l1"}, {"epsilon_end": -0.1}],
)
def test_wrong_settings_are_one_line_that_names_them(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f"--agent.{name} must be .*got {value}"):
        DQN.Config(**wrong)


def test_continuous_actions_are_refused():
    with pytest.raises(UserError, match="DQN needs actions that are one index"):
        DQN(EnvSpec(ArraySpec((2,)), ArraySpec((1,)), name="x"))
