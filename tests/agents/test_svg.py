"""SVG: what each horizon learns from, and through what."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.errors import UserError
from wm.ops.trees import swap_time, transitions
from wm.train.device import DeviceRunner
from wm.train.loop import loop_of
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, seed_keys

TINY = {
    "layers": (8,),
    "model.layers": 1,
    "model.units": 8,
    "fit.batch_size": 8,
    "fit.steps": 4,
    "database": 80,
    "target_updates": 2,
}
REPLAY = Schedule(
    total=80, envs=2, chunk=1, updates=1, prefill=24, fit_steps=20, replay=100
)
NEWEST = Schedule(total=80, envs=2, chunk=12, updates=1, prefill=0, replay=100)
ENV = "classic/pendulum"


def agent_of(**settings):
    return wm.agent("svg", wm.env(ENV).spec, **{**TINY, **settings})


@functools.cache
def records(form):
    """A buffer, the policy that filled it, and a batch of 6 rows and 13 records."""
    env, agent = wm.env(ENV), agent_of(horizon=3, form=form)
    loop = loop_of(agent, REPLAY)
    runner = DeviceRunner(loop, env, Seeds(seed_keys(0, 1), "loop"))
    [state] = runner.prefill(runner.init(), [20])
    _, batch = loop.buffer.sample(state.buffer, jax.random.key(2), 6, 13)
    dataset = loop.buffer.dataset(state.buffer)
    return dataset, state.agent.params["policy"], batch


@functools.cache
def ready(horizon, **settings):
    """The agent, an untrained state with the policy that acted, and a batch."""
    agent = agent_of(horizon=horizon, **settings)
    _, policy, batch = records(settings.get("form", "tanh"))
    state = agent.init(jax.random.key(0))
    state = state.replace(params={**state.params, "policy": policy})
    L = 13 if horizon is None else max(horizon, 1) + 1
    cut = batch._replace(
        timestep=jax.tree.map(lambda x: x[:, :L], batch.timestep),
        action=batch.action[:, :L],
        extras=jax.tree.map(lambda x: x[:, :L], batch.extras),
    )
    return agent, state, {"replay": cut}


@functools.cache
def loss_of(agent):
    """Value and gradient, compiled once."""
    return jax.jit(jax.value_and_grad(agent.policy_loss))


def step_of(batches):
    return swap_time(transitions(batches["replay"]))


def loss(agent, state, batches, key=0):
    step = step_of(batches)
    return loss_of(agent)(state.params["policy"], state, jax.random.key(key), step)


def policy_gradient(agent, state, batches, key=0):
    return loss(agent, state, batches, key)[1]


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def test_one_step_is_the_formula_of_svg_1():
    """w (r_a + γ V_s' f_a) π_θ, written out for one transition."""
    agent, state, batches = ready(1)
    step = step_of(batches)
    policy, model = state.params["policy"], state.params["model"]
    spec = agent.spec

    def one(policy, s, s_next, raw, log_prob, discount):
        now = agent.net.distribution(policy, agent.read(s[None]))
        eta = jax.lax.stop_gradient((raw - now.mean[0]) / now.std[0])
        action = jnp.tanh(now.mean[0] + eta * now.std[0])
        x = agent.model.features(s, action)[None, None]
        xi = s_next - (s + agent.model.predict(model, x)[0][0, 0])
        reached = s + agent.model.predict(model, x)[0][0, 0] + jax.lax.stop_gradient(xi)
        value = agent.critic.apply(state.critic, agent.read(reached[None]))[0, 0]
        jacobian = 2 * (jnp.log(2.0) - raw - jax.nn.softplus(-2 * raw))
        z = (raw - now.mean[0]) / now.std[0]
        density = -0.5 * z**2 - jnp.log(now.std[0]) - 0.5 * jnp.log(2 * jnp.pi)
        weight = jnp.exp((density - jacobian).sum() - log_prob)
        weight = jax.lax.stop_gradient(jnp.minimum(weight, 5.0))
        reward = spec.reward_fn(s, action, reached)
        return -weight * (reward + 0.99 * discount * value)

    each = jax.vmap(jax.grad(one), in_axes=(None, 0, 0, 0, 0, 0))
    # After a few other steps, so that now is not then.
    moved = jax.tree.map(lambda x: x + 0.05, policy)
    now = state.replace(params={**state.params, "policy": moved})
    arguments = (step.observation, step.next_observation, step.extras["raw"])
    arguments = (*arguments, step.extras["log_prob"], step.discount)
    wanted = jax.jit(each)(moved, *(x[0] for x in arguments))
    mask = np.asarray(step.mask[0])
    mean = jax.tree.map(lambda x: np.asarray(x)[mask].mean(0), wanted)
    found = policy_gradient(agent, now, batches)
    np.testing.assert_allclose(flat(found), flat(mean), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("horizon", [0, 1])
def test_a_critic_sees_nothing_behind_an_end(horizon):
    """The last of the steps ends: its value is learned from its reward alone."""
    agent, state, batches = ready(horizon)
    step = jax.tree.map(lambda x: x[0], step_of(batches))
    step = step._replace(discount=step.discount.at[-1].set(0.0))
    last = step._replace(mask=jnp.zeros_like(step.mask).at[-1].set(True))
    key = jax.random.key(5)
    loss = lambda state: float(agent.critic_loss(state.critic, state, key, last))
    other = state.replace(target=jax.tree.map(lambda x: x + 1.0, state.target))
    assert loss(other) == loss(state)
    going = last._replace(discount=jnp.ones_like(last.discount))
    ahead = lambda state: float(agent.critic_loss(state.critic, state, key, going))
    assert ahead(other) != ahead(state)


@pytest.mark.parametrize("horizon", [0, 1, None])
def test_inferred_noise_needs_no_key_and_other_noise_does(horizon):
    agent, state, batches = ready(horizon)
    one, two = (flat(policy_gradient(agent, state, batches, key)) for key in (0, 1))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one).max() > 0
    other = agent_of(horizon=horizon, infer_noise=False)
    one, two = (flat(policy_gradient(other, state, batches, key)) for key in (0, 1))
    assert np.abs(one - two).max() > 0


@pytest.mark.parametrize("horizon", [1, None])
def test_the_model_lends_its_slope_and_no_value(horizon):
    """A model that predicts nonsense changes the gradient, not what is replayed."""
    agent, state, batches = ready(horizon)
    nets = jax.tree.map(lambda x: 1.5 * x + 0.1, state.params["model"]["nets"])
    model = {**state.params["model"], "nets": nets}
    wrong = state.replace(params={**state.params, "model": model})
    value, gradient = loss(agent, state, batches)
    other, changed = loss(agent, wrong, batches)
    np.testing.assert_array_equal(value, other)
    assert np.abs(flat(gradient) - flat(changed)).max() > 0


def test_without_a_horizon_the_value_is_the_mean_return():
    agent, state, batches = ready(None)
    power = 0.99 ** np.arange(12)[:, None]
    wanted = (power * step_of(batches).reward).sum(0).mean()
    np.testing.assert_allclose(-loss(agent, state, batches)[0], wanted, rtol=1e-5)


def test_horizons_differ_in_what_they_draw_and_keep():
    agent, state, _ = ready(0)
    assert "model" not in state.params
    assert agent.batches(REPLAY) == {"replay": (16, 2)}
    assert agent_of(horizon=3).batches(REPLAY) == {"replay": (16, 4)}
    agent, state, _ = ready(None)
    assert agent.batches(NEWEST) == {"newest": (2, 13)}
    assert state.critic == {}


def test_without_a_horizon_every_update_fits_the_model_to_all_data():
    agent, state, batches = ready(None)
    after, _, metrics = jax.jit(agent.update)(state, jax.random.key(0), batches)
    assert int(after.pool.written) == 6 * 12
    assert metrics["model/epochs"] >= 1
    np.testing.assert_allclose(metrics["behavior/weight"], 1.0, rtol=1e-4)
    x, y = after.pool.rows
    step = step_of(batches)
    # 72 rows in a pool of 80, time first.
    np.testing.assert_allclose(x[:6, :3], step.observation[0], rtol=1e-6)
    change = step.next_observation[0] - step.observation[0]
    np.testing.assert_allclose(y[:6], change, atol=1e-6)


def test_with_a_horizon_the_model_learns_from_replay():
    agent, state, _ = ready(1)
    dataset, _, _ = records("tanh")
    after, metrics = jax.jit(agent.fit)(state, jax.random.key(1), dataset)
    before = state.params["model"]["nets"]
    assert np.abs(flat(after.params["model"]["nets"]) - flat(before)).max() > 0
    assert np.isfinite(metrics["model/loss"])


@pytest.mark.parametrize("horizon", [0, 1])
def test_targets_are_read_from_a_copy_made_every_other_update(horizon):
    agent, state, batches = ready(horizon)
    update = jax.jit(agent.update)
    states = [state]
    for i in range(3):
        states.append(update(states[-1], jax.random.key(i), batches)[0])
    same = lambda a, b: bool((flat(a) == flat(b)).all())
    assert [same(s.target, s.critic) for s in states[1:]] == [True, False, True]
    assert same(states[2].target, states[1].critic)


def test_the_critic_of_states_is_weighed_and_the_model_is_not():
    agent, state, batches = ready(1)
    step, key = step_of(batches), jax.random.key(0)
    error = jax.jit(agent.critic_loss)
    then = error(state.critic, state, key, step)
    sooner = {**step.extras, "log_prob": step.extras["log_prob"] + jnp.log(4.0)}
    rarer = error(state.critic, state, key, step._replace(extras=sooner))
    np.testing.assert_allclose(rarer, then / 4, rtol=1e-4)


def test_the_policy_of_svg_0_follows_likely_actions_more():
    """Actions four times as likely then as now count a quarter."""
    agent, state, batches = ready(0)
    step, policy = step_of(batches), state.params["policy"]
    then, gradient = loss_of(agent)(policy, state, jax.random.key(0), step)
    sooner = {**step.extras, "log_prob": step.extras["log_prob"] + jnp.log(4.0)}
    step = step._replace(extras=sooner)
    rarer, slope = loss_of(agent)(policy, state, jax.random.key(0), step)
    np.testing.assert_allclose(rarer, then / 4, rtol=1e-4)
    np.testing.assert_allclose(flat(slope), flat(gradient) / 4, rtol=1e-3, atol=1e-7)


def test_unsquashed_actions_and_learned_rewards_teach_too():
    agent, state, batches = ready(2, form="normal", **{"model.learn_reward": True})
    after, _, metrics = jax.jit(agent.update)(state, jax.random.key(0), batches)
    assert all(np.isfinite(x).all() for x in metrics.values())
    assert np.abs(flat(after.params["policy"]) - flat(state.params["policy"])).max() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": -1}, "--agent.horizon must be at least 0, got -1"),
        ({"max_weight": 0.5}, "--agent.max_weight must be at least 1, got 0.5"),
        ({"log_std_low": 1.0}, "--agent.log_std_low must be at most log_std_high"),
        ({"model.gaussian": True}, "--agent.model.gaussian false"),
        ({"database": 0}, "--agent.database must be at least 1"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        agent_of(**settings)


def test_a_model_that_nothing_would_fit_is_refused():
    with pytest.raises(UserError, match=r"--train.fit_steps must be set"):
        loop_of(agent_of(horizon=1), NEWEST).update_batches()
    with pytest.raises(UserError, match=r"--train.fit_steps must be none"):
        loop_of(agent_of(horizon=None), REPLAY).update_batches()
    with pytest.raises(UserError, match=r"--agent.database must be at least 24"):
        loop_of(agent_of(horizon=None, database=20), NEWEST).update_batches()


def test_other_spaces_are_refused():
    with pytest.raises(UserError, match="continuous actions"):
        wm.agent("svg", wm.env("classic/cartpole").spec)
    with pytest.raises(UserError, match=r"--agent.model.learn_reward true"):
        wm.agent("svg", wm.env("probe/hidden_point").spec)
