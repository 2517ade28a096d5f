"""The contracts: records, specs and protocols that every room is written against.

Nothing else may be assumed of an environment, a buffer, a world model, a policy or
an agent. Protocols are structural: a plain object with these methods is enough, no
base class and no registration. What must not live here: anything with behavior.

Conventions, everywhere: arguments are *what persists, randomness, data*; results are
*what persists first*; keys are typed (`jax.random.key`) and used once; batch first in
replay and acting, time first in scans and in `ops`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

Tree = Any
"""A pytree of arrays."""
Params = Any
"""`{"model": …, "policy": …}`; a model reads the first branch, a policy the second."""
Key = Any
"""A typed random key. Models and policies also take noise drawn beforehand in its
place (a float array of the shape they would draw), so that a scan can draw all its
noise at once and a test can force an outcome; see `ops.distributions.uniform`."""
Metrics = dict[str, jax.Array]
Mode = Literal["prefill", "train", "eval"]


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """Shape and type of one array of an observation or action, without batch axes.

    uint8 of rank 3 is an image `[H, W, C]`; every other array is a vector.
    Continuous actions are in [-1, 1] everywhere: an environment clips and rescales to
    its own bounds.
    """

    shape: tuple[int, ...]
    """Without batch axes."""
    dtype: str = "float32"
    """A numpy name."""
    classes: int | None = None
    """Integers in [0, classes) when set; the array is then discrete."""

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        object.__setattr__(self, "dtype", np.dtype(self.dtype).name)
        if self.classes is not None and self.classes < 1:
            raise ValueError(f"classes must be at least 1, got {self.classes}")

    @property
    def image(self) -> bool:
        """Whether this is an image: uint8 of rank 3."""
        return self.dtype == "uint8" and len(self.shape) == 3

    @property
    def discrete(self) -> bool:
        """Whether values are class indices."""
        return self.classes is not None


@dataclasses.dataclass(frozen=True)
class EnvSpec:
    """What an agent may know of a task before it acts. Hashable."""

    observation: ArraySpec | Mapping[str, Any]
    """One array, or a dict of arrays (dicts may nest)."""
    action: ArraySpec
    """Discrete `ArraySpec((), "int32", classes=A)`, or float32 in [-1, 1]."""
    name: str = "custom"
    players: int = 1
    time_limit: int | None = None
    """Steps after which an episode is truncated (in steps, after action repeat)."""
    action_repeat: int = 1
    """Simulator frames per step: `frames = step * action_repeat`."""
    legal: bool = False
    """Whether TimeStep.legal is present."""
    random_return: float | None = None
    """Expected undiscounted return of uniformly random actions, where known."""
    optimal_return: float | None = None
    """Best expected undiscounted return, where known."""
    reward_fn: Callable | None = None
    """`(observation, action, next_observation) -> f32[]`, where the task says it."""
    terminal_fn: Callable | None = None
    """`(observation, action, next_observation) -> bool[]`, likewise."""
    rules: Any = dataclasses.field(default=None, compare=False, repr=False)
    """The `Env` itself, where `TimeStep.private` is its state and an agent may plan on
    it (`models.rules`)."""

    def __hash__(self):
        leaves, structure = jax.tree.flatten(self.observation)
        return hash((self.name, tuple(leaves), structure, self.action, self.players))


class TimeStep(NamedTuple):
    """What arrives from an environment. Leaves lead with the batch axes, if any.

    Arrival aligned: reward and discount came *with* the observation, so they belong to
    the action before it.
    """

    observation: Tree
    reward: jax.Array
    """f32, as seen by the player who just moved; 0 where `is_first`."""
    discount: jax.Array
    """f32 in {0 terminal, 1, -1 the other player moves}. A truncation is `is_last`
    with discount != 0."""
    is_first: jax.Array
    is_last: jax.Array
    legal: jax.Array | None = None
    """bool `[…, A]`, all true in terminal records; None unless `EnvSpec.legal`."""
    private: Tree | None = None
    """The rules' own state, for planning on them; stripped before storing."""


class Step(NamedTuple):
    """What replay stores: a time step, the action taken after it, and by-products."""

    timestep: TimeStep
    action: jax.Array
    extras: dict[str, Tree]


class Index(NamedTuple):
    """Where a stored step lies. The absolute time is also its generation stamp."""

    row: jax.Array
    """i32, environment row."""
    time: jax.Array
    """i32, steps this row had stored before it."""


class Batch(NamedTuple):
    """Steps drawn from a buffer, leaves `[N, L, …]`."""

    timestep: TimeStep
    action: jax.Array
    extras: dict[str, Tree]
    index: Index
    """`[N, L]` each."""
    probability: jax.Array
    """f32 `[N]`: chance that one draw gives this sequence; agents form weights."""


class Feedback(NamedTuple):
    """New values for stored `extras`: latents, priorities, fresh targets."""

    index: Index
    fields: dict[str, Tree]
    """`[N, L, …]` each, named as in `Step.extras`."""
    mask: jax.Array
    """bool `[N, L]`: rows to write."""


class Dataset(NamedTuple):
    """All of a buffer in slot order, leaves `[rows, slots, …]`."""

    steps: Step
    mask: jax.Array
    """bool `[rows, slots]`: this slot and its successor form a transition."""
    size: jax.Array
    """i32, stored steps."""


class Prediction(NamedTuple):
    """What an action earns according to a model; departure aligned."""

    reward: jax.Array
    """f32 `[B]`, in task units."""
    discount: jax.Array
    """f32 `[B]`, the environment's own in [-1, 1]; no agent's gamma is folded in."""


class Belief(NamedTuple):
    """What a model believes of the next observation, where it says how sure it is."""

    mean: jax.Array
    """f32 `[B, D]`."""
    variance: jax.Array
    """f32 `[B, D]`, of the observation itself: noise and doubt together."""


class Trajectory(NamedTuple):
    """An imagined rollout, leaves `[H, B, …]`; `state[t]` precedes `action[t]`."""

    state: Tree
    action: jax.Array
    reward: jax.Array
    discount: jax.Array
    extras: dict[str, Tree]


@runtime_checkable
class Env(Protocol):
    """One instance of a task; a PyTreeNode, pure, never resets itself."""

    @property
    def spec(self) -> EnvSpec: ...
    def reset(self, key: Key) -> tuple[Tree, TimeStep]: ...
    def step(self, state: Tree, action: jax.Array) -> tuple[Tree, TimeStep]: ...


@runtime_checkable
class BatchEnv(Protocol):
    """B instances. The step after `is_last` ignores the action and returns `is_first`
    with reward 0, so terminal observations are ordinary records."""

    @property
    def spec(self) -> EnvSpec: ...
    def reset(self, key: Key, batch: int) -> tuple[Tree, TimeStep]: ...
    def step(self, state: Tree, action: jax.Array) -> tuple[Tree, TimeStep]: ...


@runtime_checkable
class HostEnv(Protocol):
    """The same stream with effects: `num_envs` instances outside the device.
    Optional: `state() -> bytes` and `restore(bytes)`, so that a resumed run continues
    its episodes; `reseed(int)`, so that evaluations and resumed runs see new ones."""

    num_envs: int

    @property
    def spec(self) -> EnvSpec: ...
    def reset(self) -> TimeStep: ...
    def step(self, action: np.ndarray) -> TimeStep: ...
    def close(self) -> None: ...


@runtime_checkable
class Buffer(Protocol):
    """Storage of steps with rows of environments; states are any pytree of arrays.

    Optional: `minimum(rows, L) -> int`, the steps over all rows that `sample(…, L)`
    needs; learning then waits for them, however short the prefill.
    """

    def init(self, example: Step) -> Tree:
        """Empty storage for steps like `example`, `[B, …]` arrays or their shapes."""
        ...

    def add(self, state: Tree, steps: Step, last: TimeStep) -> Tree:
        """Append `steps` `[B, T, …]`; `last` `[B, …]` is the time step after them."""
        ...

    def sample(self, state: Tree, key: Key, N: int, L: int) -> tuple[Tree, Batch]:
        """N sequences of L consecutive steps, none across a ring seam."""
        ...

    def newest(self, state: Tree, W: int) -> Batch:
        """The newest W steps of every row, `[B, W, …]`."""
        ...

    def write(self, state: Tree, feedback: Feedback) -> Tree:
        """Replace extras; writes to slots overwritten since are dropped."""
        ...

    def read(self, state: Tree, index: Index) -> Batch: ...
    def dataset(self, state: Tree) -> Dataset: ...
    def size(self, state: Tree) -> jax.Array: ...


@runtime_checkable
class WorldModel(Protocol):
    """A learned (or given) step function over a state M, every leaf `[B, …]`, no keys.

    Optional: `loss(params, key, batch) -> (f32[], aux)`, `prefill`, `decode(params, M)
    -> observation`, `predictive(params, M, action) -> Belief` of the next observation,
    `legal(params, M) -> bool[B, A]`; and where chance can be told from what an action
    does, `chances`, how many outcomes C there are, `afterstate(params, M, action) ->
    (after, logits [B, C])` and `chance(params, after, outcome) -> (M, Prediction)`.
    """

    @property
    def spec(self) -> EnvSpec: ...
    def init(self, key: Key) -> Params: ...
    def start(self, params: Params, batch: int) -> Tree: ...
    def encode(self, params: Params, timestep: TimeStep) -> TimeStep:
        """The time step with its observation replaced by an embedding."""
        ...

    def observe(
        self, params: Params, key: Key, state: Tree, action: Tree, evidence: TimeStep
    ) -> Tree:
        """The state after `evidence`; `action` led to it; rows with `is_first` start
        afresh."""
        ...

    def step(
        self, params: Params, key: Key, state: Tree, action: Tree
    ) -> tuple[Tree, Prediction]: ...


@runtime_checkable
class Policy(Protocol):
    """Actions from a model state (in imagination) or from a TimeStep (outside)."""

    def start(self, params: Params, batch: int) -> Tree: ...
    def act(
        self, params: Params, key: Key, carry: Tree, x: Tree
    ) -> tuple[Tree, Tree, dict[str, Tree]]: ...


@runtime_checkable
class Agent(Protocol):
    """A learner. Objects hold configuration; everything that persists is in S.

    Optional:
      `buffer(schedule) -> Buffer`, in place of uniform replay;
      `fit(S, key, Dataset) -> (S, metrics)`, every `schedule.fit_steps`;
      `label(S, Batch[B, W]) -> Feedback` on the newest steps, before they are drawn;
      `reanalyse(S, key, Batch) -> Feedback`, every `schedule.reanalyse_steps`;
      `model` and `S.params["model"]`, where it owns a world model;
      `config`, a dataclass that the run directory then records;
      `imagined_per_update(schedule) -> int`, for the rate of imagined steps.

    `batches` names what `update` draws, and under the reserved names `label` and
    `reanalyse` the windows of those two.
    """

    @property
    def spec(self) -> EnvSpec: ...
    def init(self, key: Key) -> Tree: ...
    def actor(self, state: Tree) -> Tree:
        """The part of S that acting needs."""
        ...

    def start(self, actor: Tree, batch: int) -> Tree:
        """Fresh acting carry of B rows."""
        ...

    def act(
        self, actor: Tree, key: Key, carry: Tree, timestep: TimeStep, mode: Mode
    ) -> tuple[Tree, Tree, dict[str, Tree]]: ...
    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """Name of each batch that `update` wants, with its (N, L)."""
        ...

    def update(
        self, state: Tree, key: Key, batches: dict[str, Batch]
    ) -> tuple[Tree, dict[str, Feedback], Metrics]: ...
