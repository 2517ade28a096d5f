"""Saved states: exact, verified, and never the end of a run while one is whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.errors import RunError
from wm.nodes import Node
from wm.train.checkpoint import Checkpoints
from wm.train.leaves import checksum
from wm.train.manifest import Damaged


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
