"""AlphaGo on tic-tac-toe: the parts of the paper, each with what it is without it.

`make test-learning` runs it. Losses are exact shares over all lines of play, both sides
alike; a "perfect" opponent draws among the best moves. Figures are of 21 November 2026.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.learning.duels import duel, player
from tests.planners.boards import TIC_TAC_TOE, solved
from wm.agents.alphago_config import TEACH, VALUE
from wm.imagine import act_in
from wm.planners.mcts import MCTSConfig, greedy, mcts
from wm.planners.rollouts import mixed, random_rollouts
from wm.types import Dataset, Step, TimeStep

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def game():
    pytest.importorskip("pgx")
    return solved()


class Plain:
    """A search in the place of an agent."""

    def __init__(self, game, heads, simulations):
        config = greedy(MCTSConfig(simulations, "puct", statistics="bounds"))
        self.policy = act_in(game.model, mcts(game.model, heads, config))

    def start(self, actor, batch):
        return self.policy.start(actor, batch)

    def act(self, actor, key, carry, timestep, mode):
        return self.policy.act(actor, key, carry, timestep)


def loss(game, heads, simulations):
    """Share of games lost to a perfect opponent by a uniform prior and these values."""
    return duel(player(Plain(game, heads, simulations), {}), game, True).loss


def nothing(params, key, state):
    return None, jnp.zeros(state.alive.shape), None


def test_playouts_matter_and_more_of_them_more(game):
    """One random playout per leaf, 25 simulations: 0.45 of the games are lost, with
    leaves worth nothing 0.75; with 100 simulations 0.26 and 0.37."""
    heads = random_rollouts(game.model, 9)
    few, many = loss(game, heads, 25), loss(game, heads, 100)
    assert few <= 0.60
    assert few <= loss(game, nothing, 25) - 0.10
    assert many <= few - 0.1


def test_a_mixture_is_between_its_parts(game):
    """Perfect values alone lose nothing, half of a playout 0.25, all of it 0.53."""
    playouts = random_rollouts(game.model, 9)
    perfect = game.lookup(game.value)
    shares = [0.0, 0.5, 1.0]
    lost = [loss(game, mixed(perfect, playouts, share), 25) for share in shares]
    assert lost[0] == 0
    assert lost[0] < lost[1] < lost[2]


def labelled(game, stage):
    """All positions, with minimax moves and values, as a dataset of one row."""
    P = TIC_TAC_TOE
    states, flag = game.states, lambda x: jnp.full((1, P), x, bool)
    timestep = TimeStep(
        observation=states.observation[None],
        reward=jnp.zeros((1, P)),
        discount=jnp.ones((1, P)),
        is_first=flag(False),
        is_last=flag(False),
        legal=states.legal[None],
    )
    expert = jnp.asarray(game.best.argmax(1), jnp.int32)[None]
    extras = {
        "expert": expert,
        "outcome": jnp.asarray(game.value)[None],
        "stage": jnp.full((1, P), stage),
        "chosen": flag(True),
        "finished": flag(True),
    }
    steps = Step(timestep, expert, extras)
    return Dataset(steps, flag(True), jnp.asarray(P))


def test_nets_fitted_to_minimax_play_perfectly(game):
    env = wm.env("pgx/tic_tac_toe", rules=True)
    settings = {"symmetry": "none", "epochs": 150, "batch_size": 128}
    agent = wm.agent("alphago", env.spec, preset="tic_tac_toe", **settings)
    state = agent.init(jax.random.key(0))
    key = jax.random.key(1)
    state = jax.jit(agent.fit_policies)(state, key, labelled(game, TEACH))
    state = jax.jit(agent.fit_value)(state, key, labelled(game, VALUE))
    nets = state.nets
    logits, _ = agent.net.apply(nets["supervised"], game.states.observation)
    move = jnp.where(game.states.legal, logits, -jnp.inf).argmax(-1)
    optimal = game.best[np.arange(TIC_TAC_TOE), move].mean()
    _, value = agent.net.apply(nets["value"], game.states.observation)
    assert optimal >= 0.97
    assert np.abs(value - game.value).mean() <= 0.1
    assert duel(player(agent, agent.actor(state)), game, True).loss <= 0.02


def plays(env, state, game, perfect, **settings) -> float:
    agent = wm.agent("alphago", env.spec, preset="tic_tac_toe", **settings)
    return duel(player(agent, agent.actor(state)), game, perfect).loss


def test_a_run_learns_from_a_teacher_to_play_without_a_loss(game):
    """Preset `tic_tac_toe`, 72 s. The teacher searches with 25 playouts, at which it
    loses 0.45 to a perfect opponent; the first policy, which hears it many times in
    every position, 0.016 (0.001 to any), and the search with 32 simulations nothing to
    either."""
    env = wm.env("pgx/tic_tac_toe", rules=True)
    agent = wm.agent("alphago", env.spec, preset="tic_tac_toe")
    state = wm.train(agent, env, quiet=True).state()
    assert plays(env, state, game, True, plays="supervised") <= 0.05
    assert plays(env, state, game, True) <= 0.02
    assert plays(env, state, game, False) <= 0.005


WEAK = {"teacher.simulations": 2, "reinforce_rounds": 60, "reinforce_rate": 2e-3}


def test_play_against_earlier_selves_makes_up_for_a_weak_teacher(game):
    """A teacher of 2 playouts: the policy that learned from it loses 0.29 to any reply
    and 0.97 to perfect ones; after 60 rounds against earlier selves 0.05 and 0.32.
    Without the policy gradient it would be the first policy still. 160 s."""
    env = wm.env("pgx/tic_tac_toe", rules=True)
    agent = wm.agent("alphago", env.spec, preset="tic_tac_toe", value_rounds=1, **WEAK)
    state = wm.train(agent, env, steps=345_000, quiet=True).state()
    first, second = (
        plays(env, state, game, False, plays=name)
        for name in ("supervised", "reinforced")
    )
    assert second <= 0.5 * first
