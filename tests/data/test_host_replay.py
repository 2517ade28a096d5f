import jax
import numpy as np
import pytest

from tests.data.streams import filled, jitted, stamps
from wm.data.host_replay import HostReplay
from wm.data.replay import Replay
from wm.types import Feedback, Index

ROWS = 3
host = HostReplay(capacity=ROWS * 16, length=4)
device = jitted(Replay(capacity=ROWS * 16, length=4))


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("total", [3, 16, 29])
def test_host_and_device_hold_the_same(total):
    on_host, on_device = filled(host, ROWS, total, 5), filled(device, ROWS, total, 5)
    index = Index(
        np.array([[0, 0, 0], [2, 2, 1]]), total - np.array([[3, 2, 1], [2, 1, 1]])
    )
    assert_same(host.read(on_host, index), device.read(on_device, index))
    assert_same(host.newest(on_host, 16), device.newest(on_device, 16))
    assert_same(host.dataset(on_host), device.dataset(on_device))
    assert host.size(on_host) == device.size(on_device)


def test_host_and_device_write_the_same():
    on_host, on_device = filled(host, ROWS, 21), filled(device, ROWS, 21)
    time = np.array([3, 6, 5, 19])[:, None] + np.arange(4)
    row = np.zeros((4, 4), np.int32)
    h = np.random.default_rng(0).normal(size=(4, 4, 3)).astype(np.float32)
    z = np.arange(16).reshape(4, 4, 1).astype(np.int32)
    mask = np.ones((4, 4), bool)
    mask[2, 2] = False
    feedback = Feedback(Index(row, time), {"latent": {"h": h, "z": z}}, mask)
    on_host, on_device = (
        host.write(on_host, feedback),
        device.write(on_device, feedback),
    )
    assert_same(host.dataset(on_host), device.dataset(on_device))


def test_queue_serves_the_same_windows_as_on_the_device():
    on_host, on_device = filled(host, ROWS, 22), filled(device, ROWS, 22)
    for n in range(3):
        key = jax.random.key(n)
        on_host, a = host.sample(on_host, key, 4, 4)
        on_device, b = device.sample(on_device, key, 4, 4)
        served = [4, 4, 1][n]
        assert_same(
            jax.tree.map(lambda x, s=served: x[:s], a),
            jax.tree.map(lambda x, s=served: x[:s], b),
        )
        assert on_host.served == int(on_device.served)
        assert_same(a.probability, b.probability)


def test_windows_are_consecutive_across_the_end_of_the_array():
    state = filled(host, ROWS, 27)
    _, batch = host.sample(state, jax.random.key(0), 200, 5)
    row, time = stamps(batch)
    assert (row == row[:, :1]).all()
    assert (np.diff(time, axis=1) == 1).all()
    assert set(time[:, 0]) == set(range(11, 23))


def test_unknown_field_and_other_kind_are_refused():
    state = filled(host, ROWS, 16)
    index = Index(np.zeros((1, 1), np.int32), np.zeros((1, 1), np.int32))
    mask = np.ones((1, 1), bool)
    with pytest.raises(ValueError, match="no stored field 'latnet'"):
        host.write(state, Feedback(index, {"latnet": np.zeros((1, 1))}, mask))
    with pytest.raises(ValueError, match="stored as float32"):
        host.write(state, Feedback(index, {"value": mask}, mask))
