"""Saved states: exact, verified, and never the end of a run while one is whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.data.host_replay import HostReplay
from wm.errors import RunError
from wm.nodes import Node
from wm.train import manifest
from wm.train.checkpoint import Checkpoints
from wm.train.leaves import checksum
from wm.train.manifest import Damaged
from wm.types import Step, TimeStep


class Node(Node):
    array: jax.Array
    key: jax.Array
    rest: tuple


TREE = {
    "node": Node(
        array=jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3),
        key=jax.random.split(jax.random.key(3), 2),
        rest=(jnp.int32(4), jnp.zeros((0, 2)), np.array([True, False])),
    ),
    "bytes": np.arange(256, dtype=np.uint8),
}
SHAPES = jax.eval_shape(lambda: TREE)


def save(path, steps=(1,), keep=2):
    checkpoints = Checkpoints(path, keep)
    for step in steps:
        tree = {**TREE, "bytes": TREE["bytes"] + np.uint8(step)}
        checkpoints.save(step, [("one", tree), ("two", {})], {"step": step})
    checkpoints.wait()
    return checkpoints


def damage(path, step):
    """Flip a byte in the largest file of a step."""
    files = [x for x in (path / str(step)).rglob("*") if x.is_file()]
    file = max(files, key=lambda x: (x.suffix != ".json", x.stat().st_size))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))


def test_every_kind_of_leaf_survives(tmp_path):
    restored = save(tmp_path).restore({"one": SHAPES})
    tree = restored.items["one"]
    assert jax.tree.structure(tree) == jax.tree.structure(TREE)
    np.testing.assert_array_equal(tree["bytes"], TREE["bytes"] + np.uint8(1))
    assert tree["node"].array.dtype == jnp.bfloat16
    np.testing.assert_array_equal(tree["node"].array, TREE["node"].array)
    data = jax.random.key_data
    np.testing.assert_array_equal(data(tree["node"].key), data(TREE["node"].key))
    assert [x.shape for x in tree["node"].rest] == [(), (0, 2), (2,)]
    assert restored.notes == {"step": 1}


def test_the_newest_steps_are_kept(tmp_path):
    checkpoints = save(tmp_path, (1, 2, 3))
    assert checkpoints.steps() == [2, 3]
    assert checkpoints.restore({"one": SHAPES}).step == 3


def test_older_steps_stay_without_what_continuing_needs(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=None)
    for step in (1, 2, 3):
        checkpoints.save(step, [("one", TREE), ("one_replay", TREE)], {"step": step})
    checkpoints.wait()
    assert checkpoints.steps() == [1, 2, 3]
    assert checkpoints.read(1, {"one": SHAPES}).notes == {"step": 1}
    with pytest.raises(Damaged, match="one_replay: missing"):
        checkpoints.read(1, {"one_replay": SHAPES})
    assert checkpoints.read(2, {"one_replay": SHAPES}).step == 2
    checkpoints.keep = 3
    checkpoints.save(4, [("one", TREE)], {})
    checkpoints.wait()
    assert checkpoints.steps() == [2, 3, 4]


def test_a_flipped_byte_falls_back_with_a_line(tmp_path):
    checkpoints, lines = save(tmp_path, (1, 2)), []
    damage(tmp_path, 2)
    restored = checkpoints.restore({"one": SHAPES}, lines.append)
    assert restored.step == 1
    assert len(lines) == 1
    assert "checkpoint 2 of" in lines[0]
    assert "trying 1" in lines[0]


def test_no_whole_step_left_is_an_error(tmp_path):
    checkpoints = save(tmp_path, (1, 2))
    (tmp_path / "2" / "manifest.json").write_text("{")
    (tmp_path / "1" / "manifest.json").unlink()
    with pytest.raises(RunError, match="no other is left"):
        checkpoints.restore({"one": SHAPES})


def test_nothing_saved_is_no_error(tmp_path):
    assert Checkpoints(tmp_path / "new").restore({"one": SHAPES}) is None


def test_another_shape_is_not_restored(tmp_path):
    checkpoints = save(tmp_path)
    other = {**SHAPES, "bytes": jax.ShapeDtypeStruct((255,), np.uint8)}
    with pytest.raises(RunError, match="bytes: another shape"):
        checkpoints.restore({"one": other})


def test_leftovers_of_a_killed_save_are_swept_and_never_read(tmp_path):
    save(tmp_path)
    (tmp_path / "2.unfinished" / "one").mkdir(parents=True)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == [1]
    assert not (tmp_path / "2.unfinished").exists()


def test_an_unwritable_place_is_one_line_and_harms_nothing(tmp_path, monkeypatch):
    checkpoints = save(tmp_path)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wm.train.checkpoint.write_item", full)
    checkpoints.save(2, [("one", TREE)], {})
    with pytest.raises(RunError, match=r"cannot save to .*no space left.*free\)"):
        checkpoints.wait()
    assert checkpoints.steps() == [1]
    assert [x.name for x in tmp_path.iterdir()] == ["1"]


def test_checksums_depend_on_every_byte():
    # CRC-32 of "123456789", the check value of the standard.
    assert checksum(np.frombuffer(b"123456789", np.uint8)) == 0xCBF43926
    assert checksum(np.float32(1)) != checksum(np.float32(2))


def replayed(path, steps=(1, 2)):
    """Steps with a replay that grows; what to read, and the files of each step."""
    buffer, checkpoints = HostReplay(60, 4), Checkpoints(path)
    ones = np.ones(3, np.float32)
    first = TimeStep(np.zeros((3, 4), np.float32), ones, ones, ones > 1, ones > 1)
    step = Step(first, np.zeros(3, np.int32), {"score": ones})
    state, files, before = buffer.init(step), [], set()
    for number in steps:
        grown = jax.tree.map(
            lambda x, n=number: np.full((3, 6, *x.shape[1:]), n, x.dtype), step
        )
        buffer.add(state, grown, first)
        items = {"one": TREE, "one_replay": buffer.state(state)}
        checkpoints.save(number, items.items(), {"step": number})
        checkpoints.wait()
        now = {x for x in path.rglob("*") if x.is_file()}
        files.append(sorted(now - before))
        before = now
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), items)
    return {**shapes, "one": SHAPES}, files


def test_every_flipped_bit_and_cut_file_is_noticed_and_named(tmp_path):
    """A hundred; `benchmarks/faults.py` makes a thousand."""
    targets, (_, files) = replayed(tmp_path / "checkpoints")
    generator = np.random.default_rng(0)
    for number in range(100):
        file = files[number % len(files)]
        data = file.read_bytes()
        place = int(generator.integers(8 * len(data)))
        changed = bytearray(data[: place // 8] if number % 2 else data)
        if number % 2 == 0:
            changed[place // 8] ^= 1 << place % 8
        file.write_bytes(bytes(changed))
        lines = []
        restored = Checkpoints(tmp_path / "checkpoints").restore(targets, lines.append)
        file.write_bytes(data)
        assert restored.step == 1
        (line,) = lines
        assert "checkpoint 2 of" in line
        assert file.name in line


def test_steps_that_follow_each_other_share_no_file(tmp_path):
    replayed(tmp_path, (1, 2, 3, 4, 5))
    names = [manifest.read(tmp_path / str(step))["files"] for step in (4, 5)]
    outside = [{x for x in name if x.startswith("..")} for name in names]
    assert outside[0]
    assert not outside[0] & outside[1]
    kept = {x.name for x in (tmp_path / "segments").iterdir()}
    assert {f"../segments/{x}" for x in kept} == outside[0] | outside[1]


def test_a_damaged_older_step_is_not_built_upon(tmp_path):
    targets, files = replayed(tmp_path)
    next(x for x in files[0] if x.suffix == ".segment").write_bytes(b"")
    checkpoints, lines = Checkpoints(tmp_path), []
    restored = checkpoints.restore(targets, lines.append)
    assert restored.step == 2
    assert "checkpoint 1 of" in lines[0]
    checkpoints.save(3, list(restored.items.items()), {})
    checkpoints.wait()
    again = Checkpoints(tmp_path).restore(targets, lines.append)
    assert again.step == 3
    assert len(lines) == 1


def test_steps_of_a_course_that_was_abandoned_go_when_a_new_one_is_saved(tmp_path):
    checkpoints = save(tmp_path, (1, 5))
    damage(tmp_path, 5)
    assert checkpoints.restore({"one": SHAPES}).step == 1
    checkpoints.save(2, [("one", TREE), ("two", {})], {})
    checkpoints.wait()
    assert checkpoints.steps() == [1, 2]
