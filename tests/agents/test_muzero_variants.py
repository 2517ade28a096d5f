"""`wm.agents.muzero` where actions are drawn, and where chance is told apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.agents.readied import IN_LATENTS, KEY, Ready, small
from wm.agents.muzero import Windows
from wm.behaviors import unrolled
from wm.models.value_equivalent import LatentState
from wm.planners.mcts import MCTSConfig

agent_of = small(
    "muzero", {**IN_LATENTS, "search.simulations": 3, "priority_exponent": 1.0}
)


@pytest.fixture(scope="module")
def drawn():
    """Pendulum, three actions drawn, half of the batch searched anew."""
    env = wm.env("classic/pendulum")
    renewed = {"reanalyse": 0.5, "fresh_values": True, "target_updates": 3}
    return Ready(
        agent_of(env, **renewed, **{"sampled.draws": 3, "sampled.noise": 0.3}), env
    )


def test_the_drawn_set_is_stored_and_drawn_anew_where_searched_anew(drawn):
    batch, agent = drawn.batch, drawn.agent
    stored = np.asarray(batch.extras["actions"][:, :3])
    assert stored.shape == (4, 3, 3, 1)
    np.testing.assert_allclose(batch.extras["policy"].sum(-1), 1, rtol=1e-5)
    # What was played is one of what was drawn.
    hit = (batch.extras["actions"][..., 0] == batch.action).any(-1)
    assert hit.all()
    goals = drawn.goals(drawn.params, KEY, batch)
    changed = (np.asarray(goals.actions) != stored).any((1, 2, 3))
    assert changed.sum() == 2  # half of four
    policy = np.asarray(goals.policy)
    kept = np.asarray(batch.extras["policy"][:, :3])
    np.testing.assert_array_equal(policy[~changed], kept[~changed])
    fields = jax.jit(agent.reanalyse)(drawn.state.agent, KEY, batch).fields
    assert set(fields) == {"policy", "value", "actions"}
    assert fields["actions"].shape == (4, agent.window, 3, 1)


def test_the_policy_is_fitted_to_what_was_drawn(drawn):
    """The update's loss of the policy is that of `Sampled` at k = 0 and after it."""
    agent, batch = drawn.agent, drawn.batch
    goals = drawn.goals(drawn.params, KEY, batch)
    history = jax.tree.map(lambda x: x[:, 0], agent.seen(batch, 1))
    rows = Windows(agent.seen(batch, 1), batch.action[:, :2], goals, jnp.ones(4))
    total, (metrics, _) = jax.jit(agent.loss)(drawn.params, rows)
    latent, expected = agent.model.represent(drawn.params, history), 0.0
    for k in range(3):
        if k:
            latent = agent.model.advance(drawn.params, latent, batch.action[:, k - 1])
        output = agent.model.predict(drawn.params, latent)["policy"]
        assert output.shape == (4, 2)
        term = agent.sampled.loss(output, goals.policy[:, k], goals.actions[:, k])
        expected += (goals.acting[:, k] * term).mean() * (1 if k == 0 else 0.5)
    np.testing.assert_allclose(metrics["loss/policy"], expected, rtol=1e-4)
    assert np.isfinite(total)


def test_uniform_draws_are_at_the_root_while_collecting_alone(drawn):
    agent = drawn.agent
    search = agent.acting.search
    assert (search.root.noise, search.heads.noise) == (0.3, 0.0)
    quiet = agent.acting.policies["eval"].policy
    assert (quiet.root, quiet.heads.noise, quiet.heads.guided) == (None, 0.0, True)
    other = agent_of(drawn.env, eval_guided=False)
    assert not other.acting.policies["eval"].policy.heads.guided
    alone = agent_of(drawn.env, eval_simulations=0).acting.policies["eval"].policy
    assert not hasattr(alone, "config")


@pytest.fixture(scope="module")
def coded():
    """Three codes, steps by halves."""
    env = wm.env("gymnax/Catch-bsuite")
    return Ready(agent_of(env, codes=3, **{"search.method": "stochastic"}), env)


def test_the_terms_of_afterstates_by_hand(coded):
    """Read codes lead the model; values and chances are told behind the decision."""
    agent, batch, params = coded.agent, coded.batch, coded.params
    goals = coded.goals({}, KEY, batch)
    seen, action = agent.seen(batch, 3), batch.action[:, :2]
    rows = Windows(seen, action, goals, jnp.ones(4))
    _, (metrics, said) = jax.jit(agent.loss)(params, rows)
    metrics |= unrolled.measured(goals, said)
    world, model = agent.model, agent.base
    expected = dict.fromkeys(("after_value", "chance", "commitment"), 0.0)
    at = lambda k: jax.tree.map(lambda x: x[:, k], seen)
    latent = model.represent(params, at(0))
    pair = lambda k: jnp.concatenate([model.planes(at(k)), model.planes(at(k + 1))], -1)
    # One batch, over which the encoder is normed.
    pairs = jnp.concatenate([pair(0), pair(1)])
    read = world.nets.encode.apply(params["model"]["chance"]["encode"], pairs)
    for k in range(2):
        raw = read[4 * k : 4 * (k + 1)]
        code = np.eye(3)[np.argmax(raw, -1)]
        after = model.advance(params, latent, action[:, k])
        said = world.predict(params, after)
        chance = -(code * np.asarray(jax.nn.log_softmax(said["chance"]))).sum(-1)
        value = model.value_code.loss(said["value"], goals.value[:, k])
        terms = {"chance": chance, "after_value": value}
        terms["commitment"] = ((code - raw) ** 2).sum(-1)
        for name, term in terms.items():
            expected[name] += float((goals.acting[:, k] * term).mean()) / 2
        latent = world.follow(params, after, jnp.asarray(code, jnp.float32))
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[f"loss/{name}"], value, rtol=1e-4)
    assert metrics["model/codes_used"] >= 1


def test_losses_behind_a_chance_reach_the_encoder_through_its_code(coded):
    """Straight through, where a step was made; not past an end."""
    agent, batch = coded.agent, coded.batch
    seen, world = agent.seen(batch, 3), agent.model

    def said(params, acting):
        code, _ = world.read(params, seen, acting)
        return (code * jnp.arange(3.0)).sum()

    gradient = jax.jit(jax.grad(said))
    slope = lambda acting: gradient(coded.params, acting)["model"]["chance"]
    size = lambda tree: sum(float(abs(x).sum()) for x in jax.tree.leaves(tree))
    assert size(slope(jnp.ones((4, 2)))["encode"]) > 0
    assert size(slope(jnp.zeros((4, 2)))["encode"]) == 0
    code, _ = jax.jit(world.read)(coded.params, seen, jnp.ones((4, 2)))
    np.testing.assert_allclose(jnp.sort(code, -1), [[[0, 0, 1]] * 2] * 4, atol=1e-6)


def test_a_search_takes_the_value_of_an_afterstate_from_its_head(coded):
    """One simulation: what it visited is worth what the head says of it."""
    agent, params = coded.agent, coded.params
    once = MCTSConfig(1, "stochastic", 0.9, noise=0.0)
    search = agent.acting.search._replace(config=once)
    history = jax.tree.map(lambda x: x[:, 0], agent.seen(coded.batch, 1))
    state = LatentState(agent.base.represent(params, history))
    tree = jax.jit(search.search)(params, KEY, state).search_tree
    visited = np.asarray(tree.children_visits[:, 0, :3]).argmax(-1)
    after, logits = agent.model.afterstate(params, state, jnp.asarray(visited))
    assert logits.shape == (4, 3)
    value = agent.model.afterstate_value(params, after)
    found = np.asarray(tree.children_values)[np.arange(4), 0, visited]
    np.testing.assert_allclose(found, value, rtol=1e-4)
    sides = [agent.model.chance(params, after, jnp.full(4, c))[0] for c in (0, 1)]
    assert np.abs(sides[0].latent - sides[1].latent).max() > 1e-3
