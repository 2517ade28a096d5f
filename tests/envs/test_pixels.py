"""`wm.envs.pixels`: what Catch looks like and pays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.envs.play import episode_returns, random_policy
from wm.envs import make


def cells(image):
    """One number per cell of the 6 × 5 board inside the 16 × 16 picture."""
    return np.asarray(image)[2:14, :15, 0].reshape(6, 2, 5, 3).max((1, 3))


def test_ball_and_paddle_are_blocks_of_three_by_two_pixels():
    env = make("pixels/catch")
    state, timestep = env.reset(jax.random.key(0))
    image = np.asarray(timestep.observation)
    assert (image.shape, image.dtype) == ((16, 16, 1), np.uint8)
    assert image.sum() == 255 * 2 * (3 * 2)
    board = cells(image)
    assert board[0, state.column] == 255
    assert board[5, 2] == 255


def test_the_ball_falls_and_the_paddle_follows_the_actions():
    env = make("pixels/catch")
    state, _ = env.reset(jax.random.key(0))
    for row, action in enumerate((0, 0, 0, 2), start=1):
        state, timestep = env.step(state, jnp.asarray(action))
        board = cells(timestep.observation)
        assert board[row, state.column] == 255
    assert board[5, 1] == 255
    assert timestep.reward == 0


def test_following_the_ball_catches_it_in_five_steps():
    env = make("probe/catch")

    def policy(key, now, before):
        ball = now.reshape(-1, 6, 5)[:, :5].sum(1).argmax(-1)
        paddle = now.reshape(-1, 6, 5)[:, 5].argmax(-1)
        return 1 + jnp.sign(ball - paddle)

    returns, lengths = episode_returns(env, policy)
    assert returns.mean() == env.spec.optimal_return == 1.0
    assert (lengths == 5).all()


def test_random_play_catches_one_in_five():
    env = make("pixels/catch")
    returns, _ = episode_returns(env, random_policy(env.spec))
    assert abs(returns.mean() + 0.6) < 0.12


def test_larger_pictures_and_boards():
    env = make("pixels/catch", rows=10, columns=8, size=64, channels=3)
    _, timestep = env.reset(jax.random.key(0))
    assert env.spec.observation.shape == timestep.observation.shape == (64, 64, 3)
    assert env.spec.random_return == 2 / 8 - 1
    assert env.spec.time_limit == 9
    lit = (np.asarray(timestep.observation) > 0).any(-1)
    assert lit.sum() == 2 * (64 // 10) * (64 // 8)


@pytest.mark.parametrize("options", [{"rows": 1}, {"columns": 17}, {"channels": 2}])
def test_impossible_boards_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        make("pixels/catch", **options)
