"""Replay on disk: only what is new is written, and what is read is what was there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.data.host_replay import HostReplay
from wm.data.replay import Replay
from wm.data.rollout import Rollout
from wm.train import segments
from wm.train.leaves import Part, plain
from wm.train.manifest import Damaged
from wm.types import Feedback, Step, TimeStep

ROWS = 3


def steps(begin, count):
    """Steps that differ everywhere, as numpy."""
    at = begin + np.arange(count) + 100 * np.arange(ROWS)[:, None]
    flags = at % 7 == 0
    image = (at[..., None, None] + np.arange(8).reshape(2, 4)).astype(np.uint8)
    reward = at.astype(np.float32)
    timestep = TimeStep(image, reward, reward + 0.5, flags, flags)
    extras = {"score": reward * 2, "h": reward[..., None].astype(jnp.bfloat16)}
    return Step(timestep, at.astype(np.int32), extras)


EXAMPLE = jax.tree.map(lambda x: x[:, 0], steps(0, 1))
AFTER = EXAMPLE.timestep


def equal(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(plain(x), plain(y)) for x, y in pairs)


def shapes_of(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def course(buffer):
    """The saved form of a replay that is added to and written back to, in turn."""
    on_host = isinstance(buffer, HostReplay)
    maybe = (lambda fn: fn) if on_host else jax.jit

    def back(state, key, number):
        state, batch = buffer.sample(state, key, 2, 4)
        fields = {"score": batch.extras["score"] + number}
        mask = np.ones((2, 4), bool)
        return buffer.write(state, Feedback(batch.index, fields, mask))

    add, back = maybe(buffer.add), maybe(back)
    state, time = buffer.init(EXAMPLE), 0
    for number, count in enumerate((5, 3, 5, 5, 5, 3, 5, 5)):
        state, time = add(state, steps(time, count), AFTER), time + count
        if number > 1:
            state = back(state, jax.random.key(number), np.float32(number))
        yield buffer.state(state) if on_host else state


@pytest.mark.parametrize(
    "buffer",
    [Replay(ROWS * 20, 4), Rollout(5), HostReplay(ROWS * 20, 4)],
    ids=lambda x: type(x).__name__,
)
def test_every_save_is_exact_through_wraps_and_writes(buffer, tmp_path):
    """Saves of two courses in turn, as `Checkpoints` makes them."""
    older, newer = None, None
    for number, tree in enumerate(course(buffer)):
        entry = segments.write(tmp_path, f"{number}", tree, older)
        assert equal(segments.read(tmp_path, shapes_of(tree), entry), tree)
        if newer is not None:
            assert not entry["files"].keys() & newer["files"].keys()
        older, newer = newer, entry


@pytest.mark.parametrize("bounds", [(0, 3), (2, 10), (7, 10), (0, 10)])
def test_slots_of_an_accelerator_are_copied_piece_by_piece(bounds, monkeypatch):
    monkeypatch.setattr(segments, "_in_memory", lambda leaf: False)
    monkeypatch.setattr(segments, "PIECE", 4)
    leaf = jnp.arange(60).reshape(3, 10, 2)
    expected = np.asarray(leaf)[:, slice(*bounds)]
    np.testing.assert_array_equal(segments.slots_of(leaf, *bounds), expected)
    of_two = Part(jnp.stack([leaf + 1, leaf]), 1)
    np.testing.assert_array_equal(segments.slots_of(of_two, *bounds), expected)
    np.testing.assert_array_equal(plain(of_two), np.asarray(leaf))


def test_only_what_is_new_is_written(tmp_path):
    buffer, after = HostReplay(ROWS * 10_000, 4), AFTER
    state = buffer.add(buffer.init(EXAMPLE), steps(0, 5_000), after)
    first = segments.write(tmp_path, "first", buffer.state(state), None)
    state = buffer.add(state, steps(5_000, 50), after)
    second = segments.write(tmp_path, "second", buffer.state(state), first)
    size = lambda name: (tmp_path / name).stat().st_size
    fixed = 8 + 4 + 4 + 1 + 1 + 4  # image, reward, discount, flags, action
    assert size("first.segment") == ROWS * 5_000 * fixed
    assert size("second.segment") == ROWS * 51 * fixed
    assert set(second["files"]) > {"first.segment", "second.segment"}


def test_segments_that_were_overwritten_are_needed_no_more(tmp_path):
    buffer, entry = HostReplay(ROWS * 10, 4), None
    state = buffer.init(EXAMPLE)
    for number in range(6):
        state = buffer.add(state, steps(5 * number, 5), AFTER)
        entry = segments.write(tmp_path, f"{number}", buffer.state(state), entry)
    names = {name for name in entry["files"] if name.endswith("segment")}
    assert names == {"4.segment", "5.segment"}


def test_another_run_is_not_read(tmp_path):
    buffer, other = HostReplay(ROWS * 10, 4), HostReplay(ROWS * 12, 4)
    entry = segments.write(tmp_path, "a", buffer.state(buffer.init(EXAMPLE)), None)
    shapes = shapes_of(other.state(other.init(EXAMPLE)))
    with pytest.raises(Damaged, match="another shape or type"):
        segments.read(tmp_path, shapes, entry)
