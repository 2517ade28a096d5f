"""`wm/ops/trees.py`: shifting, masking, reshaping."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.ops import trees
from wm.types import Batch, Index, TimeStep


def make_batch():
    """One row: records 0-4, record 2 truncated, record 3 a first one."""
    row = lambda *x: jnp.array([x])
    timestep = TimeStep(
        observation={"x": row(10, 11, 12, 20, 21)},
        reward=row(0.0, 1.0, 2.0, 0.0, 3.0),
        discount=row(1.0, 1.0, 1.0, 1.0, 0.0),
        is_first=row(True, False, False, True, False),
        is_last=row(False, False, True, False, True),
    )
    zeros = jnp.zeros((1, 5), jnp.int32)
    return Batch(
        timestep=timestep,
        action=row(0, 1, 2, 3, 4),
        extras={"latent": row(5, 6, 7, 8, 9)},
        index=Index(zeros, zeros),
        probability=jnp.ones(1),
    )


def test_transitions_take_reward_and_discount_from_the_next_record():
    result = trees.transitions(make_batch())
    assert result.observation["x"].tolist() == [[10, 11, 12, 20]]
    assert result.next_observation["x"].tolist() == [[11, 12, 20, 21]]
    assert result.action.tolist() == [[0, 1, 2, 3]]
    assert result.reward.tolist() == [[1, 2, 0, 3]]
    assert result.discount.tolist() == [[1, 1, 1, 0]]
    assert result.next_is_last.tolist() == [[False, True, False, True]]
    assert result.extras["latent"].tolist() == [[5, 6, 7, 8]]


def test_transitions_mask_the_reset():
    assert trees.transitions(make_batch()).mask.tolist() == [[True, True, False, True]]


def test_where_rows_selects_keys_and_arrays_of_any_rank():
    keys = jax.random.split(jax.random.key(0), 3)
    new = {"a": jnp.ones(3), "b": jnp.ones((3, 2), jnp.int32), "key": keys}
    old = {"a": jnp.zeros(3), "b": jnp.zeros((3, 2), jnp.int32), "key": keys[::-1]}
    result = trees.where_rows(jnp.array([True, False, False]), new, old)
    assert result["a"].tolist() == [1, 0, 0]
    assert result["b"].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert (result["key"] == keys[jnp.array([0, 1, 0])]).all()


def test_stack_and_unstack_invert_each_other():
    parts = [{"a": jnp.full(2, i)} for i in range(3)]
    stacked = trees.stack(parts)
    assert stacked["a"].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert trees.stack(parts, axis=1)["a"].tolist() == [[0, 1, 2]] * 2
    for part, original in zip(trees.unstack(stacked), parts, strict=True):
        np.testing.assert_array_equal(part["a"], original["a"])


def test_flattened_row_of_b_and_t_is_b_times_T_plus_t():
    x = jnp.arange(24).reshape(2, 3, 4)
    flat = trees.flatten_batch({"x": x, "y": x[..., 0]})
    assert flat["x"].shape == (6, 4)
    np.testing.assert_array_equal(flat["x"][1 * 3 + 2], x[1, 2])
    np.testing.assert_array_equal(trees.unflatten_batch(flat, (2, 3))["x"], x)
    assert trees.flatten_batch(x, axes=3).shape == (24,)


def test_swap_time_is_its_own_inverse():
    x = jnp.arange(24).reshape(2, 3, 4)
    assert trees.swap_time(x).shape == (3, 2, 4)
    np.testing.assert_array_equal(trees.swap_time(trees.swap_time(x)), x)


def test_sizes_count_arrays_and_shapes():
    tree = {"a": jnp.zeros((2, 3)), "b": jax.ShapeDtypeStruct((5,), jnp.uint8)}
    assert trees.size_bytes(tree) == 29
    assert trees.count_parameters(tree) == 11
    assert trees.size_bytes(jax.random.key(0)) == 8


def test_all_finite_finds_nan_and_infinity_and_ignores_integers():
    tree = {"a": jnp.ones(2), "b": jnp.arange(3)}
    assert trees.all_finite(tree)
    assert trees.all_finite({"b": jnp.arange(3)})
    assert not trees.all_finite({**tree, "c": jnp.array([1.0, jnp.nan])})
    assert not trees.all_finite({**tree, "c": jnp.array([1.0, jnp.inf])})


def test_a_value_with_the_gradient_of_another():
    def mixed(x):
        value = {"a": 3.0 * x, "b": jnp.array([1e8, jnp.inf])}
        source = {"a": x**2, "b": jnp.stack([x, 2 * x])}
        taken = trees.with_gradient_of(value, source)
        return taken["a"] + taken["b"][0], taken["b"]

    (total, b), slope = jax.value_and_grad(mixed, has_aux=True)(5.0)
    assert total == 15.0 + 1e8
    assert b.tolist() == [1e8, float("inf")]
    assert slope == 10.0 + 1.0
