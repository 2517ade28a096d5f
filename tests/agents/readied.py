"""Small agents that search, with data of their prefill."""

import jax

import wm
from wm.train.loop import loop_of
from wm.train.schedule import Schedule

KEY = jax.random.key(0)
IN_GAMES = {
    "net.form": "mlp",
    "net.layers": 1,
    "net.units": 8,
    "search.simulations": 2,
}
"""Of agents that know the rules."""
IN_LATENTS = {
    "search.method": "gumbel",
    "search.gamma": 0.9,
    "model.units": 8,
    "model.latent": 4,
    "model.head_units": 8,
    "model.value_bins": 11,
    "model.reward_bins": 11,
    "model.value_limit": 2.0,
    "model.reward_limit": 2.0,
    "unroll": 2,
    "steps": 3,
}
"""Of agents that learn a model."""
SCHEDULE = Schedule(
    total=400, envs=3, batch_size=4, chunk=4, updates=1, prefill=36, replay=90
)


def small(system, settings):
    """A function that makes agents of that system for an environment."""
    return lambda env, **others: wm.agent(system, env.spec, **{**settings, **others})


def prefilled(agent, env, schedule, chunks):
    """Its loop, the environments, and the state behind the prefill."""
    loop, batched = loop_of(agent, schedule), wm.batch(env)

    def begun(key):
        return loop.prefill(batched, loop.init(batched, key), chunks)

    return loop, batched, jax.jit(begun)(KEY)


class Ready:
    """An agent that learns a model, everything that tests call compiled once."""

    def __init__(self, agent, env):
        self.agent, self.env = agent, env
        self.loop, _, self.state = prefilled(agent, env, SCHEDULE, 5)
        sample = lambda key: self.loop.buffer.sample(
            self.state.buffer, key, 4, agent.window
        )
        self.batch = jax.jit(sample)(KEY)[1]
        self.update = jax.jit(lambda s, key, b: agent.update(s, key, {"replay": b}))
        self.goals = jax.jit(agent.goals)
        # Heads begin at zero: give them opinions.
        moved = lambda x: x + 0.3 * jax.random.normal(KEY, x.shape)
        self.params = jax.tree.map(moved, self.state.agent.params)
