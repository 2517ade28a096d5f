"""`Node`: a dataclass, a pytree, and one kind of structure per class."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from wm.envs import ENVS, batch, make
from wm.nodes import Node, static


class Point(Node):
    """Two children and a static field."""

    x: jax.Array
    y: jax.Array
    name: str = static(default="point")


class Vector(Node):
    """Same fields, another class."""

    x: jax.Array
    y: jax.Array
    name: str = static(default="point")


def test_children_and_static_fields():
    point = Point(x=jnp.ones(2), y=jnp.zeros(3), name="a")
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(point)]
    assert paths == [".x", ".y"]
    doubled = jax.jit(lambda p: jax.tree.map(lambda x: 2 * x, p))(point)
    assert isinstance(doubled, Point)
    assert doubled.name == "a"
    assert (doubled.x == 2).all()
    assert point.replace(name="b").name == "b"
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 0
    assert jax.tree.structure(point) != jax.tree.structure(point.replace(name="b"))


def test_the_class_belongs_to_the_structure():
    """flax's `PyTreeNode` fails here; so does the compiled program of the next test."""
    x = jnp.zeros(2)
    assert jax.tree.structure(Point(x=x, y=x)) != jax.tree.structure(Vector(x=x, y=x))


def test_environments_have_different_structures():
    names = [n for n in ENVS if n.startswith(("probe/", "pixels/", "grid/"))]
    structures = [jax.tree.structure(batch(make(name))) for name in names]
    for i, one in enumerate(structures):
        assert one not in structures[i + 1 :], names[i]


def test_a_compiled_function_takes_classes_apart():
    """Many classes without leaves, as by chance in hashing a few are confused.

    With `flax.struct.PyTreeNode` 63 of 400 got the program of another (jax 0.10).
    """

    @jax.jit
    def size(node):
        return jnp.zeros(node.size())

    for number in range(100):
        kind = type(f"Kind{number}", (Node,), {"size": lambda _, n=number: n})
        assert size(kind()).shape == (number,)
