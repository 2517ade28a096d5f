"""`batch(env)`: B instances with next-step reset.

The step after `is_last` ignores the action and returns the first record of a new
episode with reward 0 and discount 1, so terminal observations are ordinary records
and every record of the stream is real.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from wm.envs.timesteps import strong
from wm.nodes import Node, static
from wm.types import EnvSpec, Key, TimeStep, Tree

Autoreset = Literal["exact", "lazy", "pooled", "cached", "own", "off"]


def batch(env: Any, autoreset: Autoreset | None = None) -> Batched:
    """Turn one environment into a batch of independent instances.

    Args:
      env: an `Env`; a plain object is enough, it need not be a pytree.
      autoreset: what a row that ended continues with.
        `exact`: every step computes a reset per row and uses it where one ended.
        `lazy`: the same stream; resets are computed, for all rows, only in steps where
        a row ended. For costly resets where rows end together.
        `pooled`: every step computes a few resets into a ring as large as the batch,
        and rows that ended take the oldest unused ones. Correct in distribution as
        long as a reset is made per reset used, i.e. for episodes of `POOL_SHARE`
        steps or more; shorter ones see starts again. For costly resets
        where rows end apart.
        `cached`: each row restarts where it first started, with fresh typed keys
        where its state has any. The cheapest; few distinct starts.
        `own`: the environment's own step after `is_last` begins a new episode, and
        keeps what outlives episodes (the clock of walls that move).
        `off`: rows that ended stay so: `is_last`, reward 0, same observation. For
        evaluation.
        None takes `env.autoreset`, the cheapest mode that is correct in
        distribution for that source, or `exact`.

    Raises:
      ValueError: unknown mode.
    """
    mode: Any = autoreset or getattr(env, "autoreset", "exact")
    if mode not in get_args(Autoreset):
        allowed = ", ".join(get_args(Autoreset))
        raise ValueError(f"autoreset must be one of {allowed}, got {mode!r}")
    if jax.tree_util.all_leaves([env]):
        env = Opaque(env=env)
    return Batched(env=env, autoreset=mode)


POOL_SHARE = 16
"""A pooled step computes a reset for every 16th row: less than a tenth of the steps
of MuJoCo or Craftax end an episode, and a reset there costs about as much as a step."""


class BatchState(Node):
    """State of `Batched`."""

    env: Tree
    """State of the instances, `[B, …]`."""
    timestep: Any
    """The newest `TimeStep` `[B, …]` in mode `off`, else None."""
    is_last: jax.Array
    """bool `[B]`: this row's next step is a reset."""
    key: Key
    """`[B]`; an episode's key is this folded with its number."""
    episode: jax.Array
    """i32 `[B]`: resets this row has had."""
    pool: Any
    """`Pool` of resets at hand in modes `pooled` and `cached`, else None."""


class Pool(Node):
    """Resets made in advance."""

    start: tuple[Tree, TimeStep]
    """What `env.reset` returned, `[P, …]`."""
    made: jax.Array
    """i32: resets written since the start."""
    used: jax.Array
    """i32: resets handed out."""
    key: Key


class Batched(Node):
    """B instances of `env`; built by `batch`."""

    env: Any
    autoreset: Autoreset = static(default="exact")

    @property
    def spec(self) -> EnvSpec:
        """That of one instance."""
        return self.env.spec

    def reset(self, key: Key, batch: int) -> tuple[BatchState, TimeStep]:
        """Start `batch` rows, each with its own key."""
        key_rows, key_pool = jax.random.split(key)
        keys = jax.random.split(key_rows, batch)
        episode = jnp.zeros(batch, jnp.int32)
        pool = None
        if self.autoreset == "pooled":
            start, pool = self._start_with_pool(keys, key_pool)
        else:
            start = self._start(keys, episode)
        if self.autoreset == "cached":
            pool = self._pool(start, key_pool)
        state, timestep = start
        state = BatchState(
            env=state,
            timestep=timestep if self.autoreset == "off" else None,
            is_last=timestep.is_last,
            key=keys,
            episode=episode,
            pool=pool,
        )
        return state, timestep

    def step(self, state: BatchState, action: jax.Array) -> tuple[BatchState, TimeStep]:
        """Step the rows whose episode goes on, begin a new one in the others.

        Args:
          state: from `reset` or `step`.
          action: `[B, …]`; ignored in rows whose last record was `is_last`.
        """
        ended = state.is_last
        stepped = jax.vmap(self.env.step)(state.env, action)
        if self.autoreset == "off":
            return self._freeze(state, stepped)
        episode = state.episode + ended
        pool = state.pool
        if self.autoreset == "own":
            new_state, timestep = stepped
        elif self.autoreset == "lazy":
            new_state, timestep = self._restart_if_any(state, episode, stepped)
        else:
            pool, started = self._restart(state, episode)
            new_state, timestep = select(ended, started, stepped)
        state = state.replace(
            env=new_state, is_last=timestep.is_last, episode=episode, pool=pool
        )
        return state, timestep

    def _start(self, keys: Key, episode: jax.Array) -> tuple[Tree, TimeStep]:
        """First records of the given episodes of all rows."""
        keys = jax.vmap(jax.random.fold_in)(keys, episode)
        return strong(jax.vmap(self.env.reset)(keys))

    def _restart(
        self, state: BatchState, episode: jax.Array
    ) -> tuple[Pool | None, tuple[Tree, TimeStep]]:
        """A beginning for every row (used where one ended) and the pool after it."""
        if self.autoreset == "pooled":
            return self._draw(state.pool, state.is_last)
        if self.autoreset == "cached":
            keys = jax.vmap(jax.random.fold_in)(state.key, episode)
            return state.pool, refresh_keys(keys, state.pool.start)
        return None, self._start(state.key, episode)

    def _restart_if_any(
        self, state: BatchState, episode: jax.Array, stepped: tuple
    ) -> tuple[Tree, TimeStep]:
        """`stepped` with the rows that ended begun anew; no work where none ended.

        A loop of at most one turn, because under vmap over seeds both branches of a
        `cond` would run in every step.
        """
        ended = state.is_last
        form = jax.eval_shape(self._start, state.key, episode)
        stepped = jax.tree.map(cast, stepped, form)

        def turn(loop):
            return jnp.zeros((), bool), select(
                ended, self._start(state.key, episode), loop[1]
            )

        loop = (jnp.any(ended), stepped)
        return jax.lax.while_loop(lambda loop: loop[0], turn, loop)[1]

    def _start_with_pool(self, keys: Key, key_pool: Key) -> tuple[tuple, Pool]:
        """First records of all rows and as many more, in one call of `reset`."""
        rows = keys.shape[0]
        fresh = jax.random.split(jax.random.fold_in(key_pool, 0), rows)
        both = jnp.concatenate(
            [jax.vmap(lambda k: jax.random.fold_in(k, 0))(keys), fresh]
        )
        made = strong(jax.vmap(self.env.reset)(both))
        start, spare = (
            jax.tree.map(lambda leaf: leaf[part], made)
            for part in (slice(None, rows), slice(rows, None))
        )
        return start, self._pool(spare, key_pool)

    def _pool(self, start: tuple[Tree, TimeStep], key: Key) -> Pool:
        rows = start[1].is_last.shape[0]
        made = jnp.asarray(rows, jnp.int32)
        return Pool(start=start, made=made, used=jnp.zeros((), jnp.int32), key=key)

    def _draw(self, pool: Pool, ended: jax.Array) -> tuple[Pool, tuple]:
        """Write a few resets, then hand the oldest out to the rows that ended.

        Writing precedes reading, or the compiled loop would copy the pool each step.
        """
        size = ended.shape[0]
        fresh = -(-size // POOL_SHARE)
        keys = jax.random.split(jax.random.fold_in(pool.key, pool.made), fresh)
        made = strong(jax.vmap(self.env.reset)(keys))
        slots = (pool.made + jnp.arange(fresh)) % size
        start = jax.tree.map(lambda old, new: old.at[slots].set(new), pool.start, made)
        rank = jnp.cumsum(ended) - ended
        rows = (pool.used + rank) % size
        drawn = jax.tree.map(lambda leaf: leaf[rows], start)
        used = pool.used + jnp.sum(ended, dtype=jnp.int32)
        return pool.replace(start=start, made=pool.made + fresh, used=used), drawn

    def _freeze(self, state: BatchState, stepped: tuple) -> tuple[BatchState, TimeStep]:
        """Keep rows that ended as they are, with reward 0."""
        still = state.timestep._replace(reward=jnp.zeros_like(state.timestep.reward))
        new_state, timestep = select(state.is_last, (state.env, still), stepped)
        is_last = timestep.is_last
        return state.replace(
            env=new_state, timestep=timestep, is_last=is_last
        ), timestep


class Opaque(Node):
    """A plain object as a pytree without leaves, so that it passes through jit."""

    env: Any = static()

    @property
    def spec(self) -> EnvSpec:
        """The object's own."""
        return self.env.spec

    def reset(self, key: Key) -> tuple[Tree, TimeStep]:
        """The object's own."""
        return self.env.reset(key)

    def step(self, state: Tree, action: jax.Array) -> tuple[Tree, TimeStep]:
        """The object's own."""
        return self.env.step(state, action)


def cast(leaf: Any, form: Any) -> jax.Array:
    """`leaf` in the dtype of `form`, without a weak type."""
    if jnp.issubdtype(form.dtype, jax.dtypes.extended):
        return leaf
    return jnp.asarray(leaf, form.dtype)


def select(mask: jax.Array, new: Tree, old: Tree) -> Tree:
    """Rows of `new` where `mask` `[B]`, else of `old`, in the dtypes of `new`."""

    def choose(a, b):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return jnp.where(mask, a, b)
        return jnp.where(
            mask.reshape(mask.shape + (1,) * (a.ndim - 1)), a, jnp.asarray(b, a.dtype)
        )

    return jax.tree.map(choose, new, old)


def refresh_keys(keys: Key, tree: Tree) -> Tree:
    """`tree` `[B, …]` with every typed key folded with random bits of `keys` `[B]`."""
    bits = jax.vmap(jax.random.bits)(keys)

    def fold(leaf):
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        rows = leaf.reshape(leaf.shape[0], -1)
        per_row = jax.vmap(jax.random.fold_in, in_axes=(0, None))
        return jax.vmap(per_row)(rows, bits).reshape(leaf.shape)

    return jax.tree.map(fold, tree)
