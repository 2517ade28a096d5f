"""One- and two-step probes of rising difficulty, and probes of the machinery.

In order: a value must be learnt (`constant`), must depend on the observation
(`observed`), must reach back in time (`delayed`), the policy must choose (`choice`),
and must choose by what it sees (`matched`). The first that fails says where to look.
`trace_counter` counts compilations; `step_counter` stamps every record.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from wm.envs.timesteps import first, following
from wm.nodes import Node, static
from wm.types import ArraySpec, EnvSpec, Key, TimeStep

BINARY = ArraySpec((), "int32", classes=2)

Task = Literal["constant", "observed", "delayed", "choice", "matched"]

RETURNS: dict[str, tuple[float, float]] = {
    "constant": (1.0, 1.0),
    "observed": (0.0, 0.0),
    "delayed": (1.0, 1.0),
    "choice": (0.0, 1.0),
    "matched": (0.0, 1.0),
}
"""Expected return of random and of best play."""


class BanditState(Node):
    """The sign shown and the time."""

    sign: jax.Array
    time: jax.Array


class Bandit(Node):
    """One step (two for `delayed`), one number observed, two actions.

    `constant`: reward 1. `observed`: the reward is the number shown, ±1. `delayed`:
    0 is shown, then 1, then a reward of 1. `choice`: action 1 earns 1, action 0 −1.
    `matched`: +1 where the action (0 or 1) agrees with the sign shown, else −1.

    Source: after the ladder in keraJLi/rejax:tests/environments.py.
    """

    task: Task = static(default="constant")

    @property
    def spec(self) -> EnvSpec:
        """Observation `[1]`, 2 actions."""
        random_return, optimal_return = RETURNS[self.task]
        return EnvSpec(
            observation=ArraySpec((1,)),
            action=BINARY,
            name=f"probe/{self.task}",
            time_limit=self._length,
            random_return=random_return,
            optimal_return=optimal_return,
        )

    @property
    def _length(self) -> int:
        return 2 if self.task == "delayed" else 1

    def reset(self, key: Key) -> tuple[BanditState, TimeStep]:
        """Draw a sign where the task shows one."""
        sign = jnp.where(jax.random.bernoulli(key), 1.0, -1.0)
        if self.task not in ("observed", "matched"):
            sign = jnp.zeros((), jnp.float32)
        state = BanditState(sign, jnp.zeros((), jnp.int32))
        return state, first(sign[None])

    def step(
        self, state: BanditState, action: jax.Array
    ) -> tuple[BanditState, TimeStep]:
        """Pay by the rule of the task."""
        state = state.replace(time=state.time + 1)
        end = state.time >= self._length
        chosen = 2.0 * action - 1.0
        reward = {
            "constant": 1.0,
            "observed": state.sign,
            "delayed": end,
            "choice": chosen,
            "matched": chosen * state.sign,
        }[self.task]
        observation = state.time if self.task == "delayed" else state.sign
        observation = jnp.asarray(observation, jnp.float32)[None]
        return state, following(observation, reward, terminal=end)


@dataclasses.dataclass(eq=False)
class Counter:
    """A number outside the program; equal only to itself."""

    count: int = 0


class TraceCounter(Node):
    """`matched`, counting how often Python runs through `step`.

    A compiled loop must leave the count alone on its second call.

    Source: after google/brax:brax/envs/fast.py.
    """

    counter: Counter = static(default_factory=Counter)
    env: Bandit = Bandit(task="matched")

    @property
    def spec(self) -> EnvSpec:
        """That of `matched`."""
        return dataclasses.replace(self.env.spec, name="probe/trace_counter")

    @property
    def traces(self) -> int:
        """Times that `step` was traced or called, in this process."""
        return self.counter.count

    def reset(self, key: Key) -> tuple[BanditState, TimeStep]:
        """That of `matched`."""
        return self.env.reset(key)

    def step(
        self, state: BanditState, action: jax.Array
    ) -> tuple[BanditState, TimeStep]:
        """That of `matched`; adds one to the counter."""
        self.counter.count += 1
        return self.env.step(state, action)


class CounterState(Node):
    """The stamp of the episode, its length, and the time."""

    stamp: jax.Array
    length: jax.Array
    time: jax.Array


class StepCounter(Node):
    """Records that say where they come from; a misaligned index is a wrong number.

    Observation (stamp, length, step): the stamp is drawn per episode, the length in
    [shortest, longest], the step counts from 0. The reward is the step. Episodes
    with an even stamp end terminally, the others by truncation.
    """

    shortest: int = static(default=1)
    longest: int = static(default=8)

    @property
    def spec(self) -> EnvSpec:
        """Observation `[3]`, 2 actions without effect."""
        lengths = range(self.shortest, self.longest + 1)
        mean = sum(n * (n + 1) / 2 for n in lengths) / len(lengths)
        return EnvSpec(
            observation=ArraySpec((3,)),
            action=BINARY,
            name="probe/step_counter",
            time_limit=self.longest,
            random_return=mean,
            optimal_return=mean,
        )

    def reset(self, key: Key) -> tuple[CounterState, TimeStep]:
        """Draw stamp and length."""
        key_stamp, key_length = jax.random.split(key)
        state = CounterState(
            # Exact in float32, and rarely drawn twice.
            stamp=jax.random.randint(key_stamp, (), 0, 1 << 24),
            length=jax.random.randint(key_length, (), self.shortest, self.longest + 1),
            time=jnp.zeros((), jnp.int32),
        )
        return state, first(self._observe(state))

    def step(
        self, state: CounterState, action: jax.Array
    ) -> tuple[CounterState, TimeStep]:
        """Count."""
        state = state.replace(time=state.time + 1)
        end = state.time >= state.length
        terminal = end & (state.stamp % 2 == 0)
        return state, following(self._observe(state), state.time, terminal, end)

    def _observe(self, state: CounterState) -> jax.Array:
        return jnp.stack([state.stamp, state.length, state.time]).astype(jnp.float32)


def make_trace_counter() -> TraceCounter:
    """`TraceCounter` with a count of its own."""
    return TraceCounter(counter=Counter())


def make_step_counter(shortest: int = 1, longest: int = 8) -> StepCounter:
    """`StepCounter`.

    Args:
      shortest: steps of the shortest episode.
      longest: steps of the longest.

    Raises:
      ValueError: not 1 ≤ shortest ≤ longest.
    """
    if not 1 <= shortest <= longest:
        raise ValueError(f"need 1 <= shortest <= longest, got {shortest}, {longest}")
    return StepCounter(shortest=shortest, longest=longest)
