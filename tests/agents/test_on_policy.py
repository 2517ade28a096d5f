"""Details that PPO, A2C and REINFORCE share, on recorded steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.agents.streams import OneState, newest
from wm.agents.a2c import A2C
from wm.agents.ppo import PPO
from wm.agents.reinforce import Reinforce, ends_inside, monte_carlo
from wm.behaviors import on_policy
from wm.behaviors.on_policy import OnPolicyConfig
from wm.behaviors.ppo import Samples
from wm.envs.probe import make_hidden_point
from wm.envs.probe_bandits import make_step_counter
from wm.errors import UserError
from wm.nets.tower import Inputs
from wm.ops.returns import gae
from wm.types import ArraySpec, EnvSpec

TINY = {"layers": (4,)}


def fixed_point(advantage_of) -> float:
    """The value v for which advantages average to zero (they are linear in v)."""
    at = lambda v: float(advantage_of(v))
    return at(0.0) / (at(0.0) - at(1.0))


@pytest.mark.parametrize("trace", [0.0, 0.95, 1.0])
def test_a_time_limit_is_not_death(trace):
    """V goes to 10; with the limit as an end to 5.26, 4.28 and 4.14."""
    agent = PPO(OneState().spec, PPO.Config(**TINY, gamma=0.9, minibatches=1))
    state, batches = newest(agent, OneState(), envs=1, T=111)
    _, data = jax.jit(agent.nets.experience)(state.moments, batches["newest"])

    @jax.jit
    def mean_advantage(v, discount):
        value = jnp.full((112, 1), v)
        advantage = gae(data.reward, discount, data.last, value, trace)
        # Ten whole episodes, of eleven records each.
        return jnp.sum((advantage * data.mask)[:110])

    alive = fixed_point(lambda v: mean_advantage(v, data.discount))
    np.testing.assert_allclose(alive, 10.0, rtol=1e-4)
    dead = fixed_point(lambda v: mean_advantage(v, data.discount * ~data.last))
    expected = {0.0: 5.263, 0.95: 4.28, 1.0: 4.138}[trace]
    np.testing.assert_allclose(dead, expected, rtol=2e-3)


def test_records_that_end_an_episode_start_no_transition():
    agent = A2C(make_step_counter().spec, A2C.Config(**TINY, gamma=0.5))
    state, batches = newest(agent, make_step_counter())
    batch = batches["newest"]
    _, data = jax.jit(agent.nets.experience)(state.moments, batch)
    last = np.asarray(batch.timestep.is_last).T
    np.testing.assert_array_equal(data.mask, ~last[:-1])
    np.testing.assert_array_equal(data.last, last[1:])
    # The reward is the step, which the next observation shows.
    steps = np.asarray(batch.timestep.observation)[..., 2].T
    valid = np.asarray(data.mask) > 0
    np.testing.assert_array_equal(data.reward[valid], steps[1:][valid])
    terminal = last[1:] & (np.asarray(batch.timestep.discount).T[1:] == 0)
    np.testing.assert_allclose(data.discount[valid], 0.5 * ~terminal[valid])


@pytest.mark.parametrize("form", ["normal", "tanh"])
@pytest.mark.parametrize("normalize", [False, True])
def test_ratios_are_one_before_the_first_step(form, normalize):
    """Also for squashed actions, far out, and with running moments."""
    config = PPO.Config(
        **TINY,
        form=form,
        normalize_observation=normalize,
        actor_outscale=3.0,
        log_std=1.0,
        epochs=1,
        minibatches=1,
    )
    agent = PPO(make_hidden_point().spec, config)
    state, batches = newest(agent, make_hidden_point())
    update = jax.jit(agent.update)
    for key in range(2):
        metrics = update(state, jax.random.key(key), batches)[2]
        np.testing.assert_allclose(metrics["behavior/ratio_max"], 1.0, atol=1e-4)
        np.testing.assert_allclose(metrics["behavior/kl"], 0.0, atol=1e-6)
        assert metrics["behavior/clipped"] == 0


def test_ratios_move_after_it():
    config = PPO.Config(**TINY, epochs=2, minibatches=3, learning_rate=0.1)
    agent = PPO(make_step_counter().spec, config)
    state, batches = newest(agent, make_step_counter())
    metrics = jax.jit(agent.update)(state, jax.random.key(0), batches)[2]
    assert metrics["behavior/ratio_max"] > 1.01


def ppo_loss(change, **settings):
    """Metrics of the loss on 20 steps, changed, under ratios other than 1."""
    agent = PPO(make_step_counter().spec, PPO.Config(**TINY, clip=0.2, **settings))
    params = agent.init(jax.random.key(0)).params
    x, advantage, log_prob = jax.random.normal(jax.random.key(1), (3, 20))
    inputs = Inputs(x[:, None] * jnp.ones(3), None)
    samples = Samples(
        inputs=inputs,
        legal=None,
        action=jnp.zeros(20, jnp.int32),
        raw=None,
        log_prob=0.5 * log_prob - 0.7,
        mask=jnp.ones(20),
        value=agent.nets.value(params, inputs),
        advantage=advantage,
    )
    loss = jax.jit(agent.learner.loss)
    return loss(params, jax.random.key(0), change(samples))[1]


def test_ppo_standardises_advantages_where_asked():
    """Twice as large and shifted they teach the same."""
    other = lambda x: x._replace(advantage=2 * x.advantage + 5)
    plain, moved = (ppo_loss(change)["loss/policy"] for change in (lambda x: x, other))
    np.testing.assert_allclose(plain, moved, rtol=1e-3)
    raw = {"normalize_advantage": False}
    plain, moved = (ppo_loss(f, **raw)["loss/policy"] for f in (lambda x: x, other))
    assert abs(moved - plain) > 1


@pytest.mark.parametrize(("clip", "expected"), [(True, 0.5 * 0.8**2), (False, 0.0)])
def test_ppo_keeps_values_near_their_old_ones_where_asked(clip, expected):
    """Old values 1 too high, targets the new ones: near is 0.8 too high."""
    higher = lambda x: x._replace(
        value=x.value + 1, advantage=jnp.full_like(x.advantage, -1.0)
    )
    settings = {"value_clip": clip, "value_scale": 0.5}
    found = ppo_loss(higher, **settings)["loss/value"]
    np.testing.assert_allclose(found, 0.5 * expected, rtol=1e-4, atol=1e-9)


def test_observations_are_scaled_by_what_was_seen():
    config = A2C.Config(**TINY, normalize_observation=True)
    agent = A2C(make_step_counter().spec, config)
    state, batches = newest(agent, make_step_counter())
    new = jax.jit(agent.update)(state, jax.random.key(0), batches)[0]
    seen = np.asarray(batches["newest"].timestep.observation)[:, :-1].reshape(-1, 3)
    x = agent.nets.scaled(new.moments.observation, jnp.asarray(seen)).vector
    np.testing.assert_allclose(x.mean(0), 0.0, atol=1e-3)
    np.testing.assert_allclose(x.std(0), 1.0, rtol=1e-3)
    assert state.moments.observation.count == 0


def test_rewards_are_divided_by_the_deviation_of_their_sums():
    config = A2C.Config(**TINY, normalize_reward=True, gamma=0.5)
    agent = A2C(make_step_counter().spec, config)
    state, batches = newest(agent, make_step_counter(), envs=1)
    experience = jax.jit(agent.nets.experience)
    moments, data = experience(state.moments, batches["newest"])
    timestep = batches["newest"].timestep
    reward, last = np.asarray(timestep.reward)[0], np.asarray(timestep.is_last)[0]
    sums, total = [], 0.0
    for t in range(len(reward) - 1):
        if last[t]:
            total = 0.0
            continue
        total = 0.5 * total + reward[t + 1]
        sums.append(total)
    np.testing.assert_allclose(
        agent.nets.rewards.std(moments.reward), np.std(sums), 1e-5
    )
    valid = np.asarray(data.mask)[:, 0] > 0
    scaled = np.clip(reward[1:][valid] / np.std(sums), -10, 10)
    np.testing.assert_allclose(data.reward[valid, 0], scaled, rtol=1e-4)


def test_rmsprop_is_that_of_tensorflow():
    """g = 2: squares 0.99·1 + 0.01·4 = 1.03; a step of 0.1·2 / sqrt(1.03 + ε)."""
    config = OnPolicyConfig(
        optimizer="rmsprop", learning_rate=0.1, epsilon=1e-5, max_norm=0.0
    )
    optimizer = on_policy.optimizer(config)
    state = optimizer.init(jnp.zeros(()))
    step, _ = optimizer.update(jnp.array(2.0), state, jnp.zeros(()))
    np.testing.assert_allclose(step, -0.2 / np.sqrt(1.03 + 1e-5), rtol=1e-5)


def test_gradients_are_clipped_by_their_global_norm():
    config = OnPolicyConfig(optimizer="rmsprop", learning_rate=1.0, max_norm=0.5)
    optimizer = on_policy.optimizer(config)
    gradient = {"a": jnp.array(3.0), "b": jnp.array(4.0)}
    step, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    # 0.3 and 0.4, over the root of 0.99 + 0.01 of their squares.
    expected = [-g / np.sqrt(0.99 + 0.01 * g * g + 1e-5) for g in (0.3, 0.4)]
    np.testing.assert_allclose([step["a"], step["b"]], expected, rtol=1e-5)


def test_annealing_counts_optimizer_steps():
    """Two epochs of two minibatches are four steps: the second update is still."""
    config = PPO.Config(**TINY, epochs=2, minibatches=2, anneal_updates=4)
    agent = PPO(make_step_counter().spec, config)
    state, batches = newest(agent, make_step_counter(), envs=2)
    update = jax.jit(agent.update)
    one = update(state, jax.random.key(0), batches)[0]
    two = update(one, jax.random.key(1), batches)[0]
    leaf = lambda state: state.params["actor"]["net"]["out"]["kernel"]
    assert not np.array_equal(leaf(one), leaf(state))
    np.testing.assert_array_equal(leaf(two), leaf(one))


def test_monte_carlo_returns_end_with_the_episode_or_go_on_with_a_value():
    agent = Reinforce(OneState().spec, Reinforce.Config(**TINY, gamma=0.9))
    state, batches = newest(agent, OneState(), envs=1, T=12)
    _, data = jax.jit(agent.nets.experience)(state.moments, batches["newest"])
    plain = monte_carlo(data, jnp.zeros(()))[:, 0]
    # Ten steps, the reset, and one step that the window cuts off.
    whole = (1 - 0.9 ** np.arange(10, 0, -1)) / 0.1
    np.testing.assert_allclose(plain[:10], whole, rtol=1e-5)
    np.testing.assert_allclose(plain[11], 1.0)
    learned = monte_carlo(data, jnp.full((13, 1), 10.0))[:, 0]
    np.testing.assert_allclose(learned[:10], 10.0, rtol=1e-5)
    np.testing.assert_allclose(learned[11], 10.0)
    inside = ends_inside(data)[:, 0]
    np.testing.assert_array_equal(inside[:10], 1.0)
    assert inside[11] == 0


def test_the_gradient_of_reinforce_is_that_of_finite_differences():
    """Softmax policy without hidden layers: ∂/∂θ of Σ −log π (G − mean) / n."""
    config = Reinforce.Config(layers=(), normalize_advantage=False, gamma=0.9)
    env = make_step_counter()
    agent = Reinforce(env.spec, config)
    state, batches = newest(agent, env)
    _, data = jax.jit(agent.nets.experience)(state.moments, batches["newest"])
    # The stamp is a number of millions.
    seen = data.inputs.vector.at[..., 0].set(0.0)
    data = data._replace(inputs=data.inputs._replace(vector=seen))
    gradient = jax.jit(jax.grad(agent.loss, has_aux=True))(
        state.params, jax.random.key(0), data
    )[0]["actor"]["net"]["out"]["kernel"]

    x, action = np.asarray(seen, np.float64)[:-1], np.asarray(data.action)
    returns = np.asarray(monte_carlo(data, jnp.zeros(())), np.float64)
    mask = np.asarray(data.mask, np.float64)
    advantage = returns - (returns * mask).sum() / mask.sum()
    theta = np.asarray(state.params["actor"]["net"]["out"]["kernel"], np.float64)

    def loss(theta):
        logits = x @ theta
        log_prob = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        taken = np.take_along_axis(log_prob, action[..., None], -1)[..., 0]
        return -(taken * advantage * mask).sum() / mask.sum()

    step, expected = 1e-6, np.zeros_like(theta)
    for index in np.ndindex(*theta.shape):
        bump = np.zeros_like(theta)
        bump[index] = step
        expected[index] = (loss(theta + bump) - loss(theta - bump)) / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_a_shared_tower_carries_both_heads():
    spec = EnvSpec(ArraySpec((16, 16, 1), "uint8"), ArraySpec((), "int32", 3))
    agent = PPO(spec, PPO.Config(layers=(), shared=True))
    state = jax.eval_shape(agent.init, jax.random.key(0))
    assert state.params["actor"]["net"]["out"]["kernel"].shape == (512, 3)
    assert state.params["critic"]["out"]["kernel"].shape == (512, 1)
    assert "critic" not in jax.eval_shape(agent.actor, state)[0]


@pytest.mark.parametrize(
    ("cls", "wrong"),
    [
        (PPO, {"gamma": 1.5}),
        (PPO, {"trace": -0.1}),
        (PPO, {"clip": -1.0}),
        (PPO, {"epochs": 0}),
        (PPO, {"form": "beta"}),
        (A2C, {"learning_rate": 0.0}),
        (A2C, {"optimizer": "sgd"}),
        (Reinforce, {"baseline": "median"}),
    ],
)
def test_wrong_settings_are_one_line_that_names_them(cls, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f"--agent.{name} must be .*got {value}"):
        cls.Config(**wrong)


def test_minibatches_must_divide_the_steps():
    from wm.train.schedule import Schedule

    agent = PPO(make_step_counter().spec)
    with pytest.raises(UserError, match="minibatches must divide the 32 steps"):
        agent.batches(Schedule(envs=2, chunk=16, updates=1))
    with pytest.raises(UserError, match="updates must be 1"):
        agent.batches(Schedule(envs=2, chunk=10, updates=2))
