import numpy as np
import pytest

from wm.envs import host as host_lib
from wm.errors import UserError
from wm.types import ArraySpec, HostEnv

gymnasium = pytest.importorskip("gymnasium")


class Walk(gymnasium.Env):
    """Counts; terminal at 3, truncated after 2 steps where `short`."""

    observation_space = gymnasium.spaces.Dict(
        {
            "image": gymnasium.spaces.Box(0, 255, (2, 2, 3), np.uint8),
            "place": gymnasium.spaces.Box(-1.0, 9.0, (1,), np.float64),
            "kind": gymnasium.spaces.Discrete(3, start=5),
        }
    )
    action_space = gymnasium.spaces.Box(
        np.array([0, -np.inf], np.float32), np.array([4, 2], np.float32)
    )

    def __init__(self, short=False):
        self.short = short
        self.actions = []
        self.seeds = []

    def _observe(self):
        image = np.full((2, 2, 3), self.place, np.uint8)
        return {"image": image, "place": np.array([self.place]), "kind": 6}

    def reset(self, seed=None, options=None):
        self.seeds.append(seed)
        self.place = 0
        return self._observe(), {}

    def step(self, action):
        self.actions.append(action)
        self.place += 1
        truncated = self.short and self.place == 2
        return self._observe(), 1.5, self.place == 3, truncated, {}


@pytest.fixture
def pair():
    rows = iter([Walk(), Walk(short=True)])
    return host_lib.host(lambda: next(rows), num_envs=2, seed=7)


def test_next_step_reset_keeps_the_terminal_observation(pair):
    steps = [pair.reset()] + [pair.step(np.zeros((2, 2))) for _ in range(4)]
    place = np.stack([s.observation["place"][:, 0] for s in steps], 1)
    np.testing.assert_array_equal(place, [[0, 1, 2, 3, 0], [0, 1, 2, 0, 1]])
    first = np.stack([s.is_first for s in steps], 1)
    np.testing.assert_array_equal(first, [[1, 0, 0, 0, 1], [1, 0, 0, 1, 0]])
    last = np.stack([s.is_last for s in steps], 1)
    np.testing.assert_array_equal(last, [[0, 0, 0, 1, 0], [0, 0, 1, 0, 0]])
    discount = np.stack([s.discount for s in steps], 1)
    np.testing.assert_array_equal(discount, [[1, 1, 1, 0, 1], [1, 1, 1, 1, 1]])
    reward = np.stack([s.reward for s in steps], 1)
    np.testing.assert_array_equal(
        reward, [[0, 1.5, 1.5, 1.5, 0], [0, 1.5, 1.5, 0, 1.5]]
    )
    assert reward.dtype == discount.dtype == np.float32


def test_reset_begins_episodes_everywhere_and_seeds_only_once(pair):
    pair.reset()
    pair.step(np.zeros((2, 2)))
    again = pair.reset()
    assert again.is_first.all()
    assert not again.is_last.any()
    assert [row.env.seeds for row in pair._rows] == [[7, None], [8, None]]


def test_spaces_become_specs_and_values_follow(pair):
    assert isinstance(pair, HostEnv)
    assert pair.spec.name == "Walk"
    assert pair.spec.observation == {
        "image": ArraySpec((2, 2, 3), "uint8"),
        "place": ArraySpec((1,)),
        "kind": ArraySpec((), "int32", classes=3),
    }
    assert pair.spec.action == ArraySpec((2,))
    observation = pair.reset().observation
    assert observation["place"].dtype == np.float32
    np.testing.assert_array_equal(observation["kind"], [1, 1])


def test_actions_are_clipped_and_rescaled_to_the_bounds(pair):
    pair.reset()
    pair.step(np.array([[0.5, 5.0], [-3.0, 0.0]]))
    actions = [row.env.actions[0] for row in pair._rows]
    np.testing.assert_allclose(actions, [[3, 2], [0, 0.5]])
    assert actions[0].dtype == np.float32


def test_cartpole_by_id():
    env = host_lib.host("CartPole-v1", num_envs=2)
    assert env.spec.time_limit == 500
    assert env.spec.action == ArraySpec((), "int32", classes=2)
    timestep = env.reset()
    for _ in range(12):
        before, timestep = timestep, env.step(np.ones(2, np.int32))
        np.testing.assert_array_equal(timestep.is_first, before.is_last)
        assert timestep.observation.shape == (2, 4)
    env.close()


def test_what_is_not_supported_is_one_line():
    with pytest.raises(UserError, match="actions of type MultiDiscrete"):
        host_lib.action_spec(gymnasium.spaces.MultiDiscrete([2, 3]))
    with pytest.raises(UserError, match="observations of type Text"):
        host_lib.observation_spec(gymnasium.spaces.Text(3))
    with pytest.raises(UserError, match="num_envs must be at least 1"):
        host_lib.host("CartPole-v1", num_envs=0)
