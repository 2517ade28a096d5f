"""Parameter counts of all published sizes."""

import dataclasses

import jax
import numpy as np
import pytest

from wm.agents.dreamer_v3 import DreamerV3
from wm.ops.trees import count_parameters
from wm.presets import compose
from wm.types import ArraySpec, EnvSpec

ATARI = EnvSpec(ArraySpec((64, 64, 3), "uint8"), ArraySpec((), "int32", 18))
WALKER = EnvSpec(
    {
        "height": ArraySpec(()),
        "orientations": ArraySpec((14,)),
        "velocity": ArraySpec((9,)),
    },
    ArraySpec((6,)),
)


def params(spec: EnvSpec, size: str) -> dict:
    config = dataclasses.replace(
        DreamerV3.Config(), **compose("dreamer_v3", size).agent
    )
    agent = DreamerV3(spec, config)
    return jax.eval_shape(agent.init, jax.random.key(0)).params


# Counted by building the authors' agent (danijar/dreamerv3 e3f0224).
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("size1m", 688_004),
        ("size12m", 10_498_772),
        ("size25m", 23_496_244),
        ("size50m", 41.66e6),
        ("size100m", 93.48e6),
        ("size200m", 165.97e6),
        ("size400m", 372.92e6),
    ],
)
def test_counts_with_images_are_the_published_ones(size, expected):
    count = count_parameters(params(ATARI, size))
    if isinstance(expected, int):
        assert count == expected
    else:
        np.testing.assert_allclose(count, expected, atol=5e3)


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (
            "size1m",
            {
                "encoder": 14_304,
                "decoder": 80_595,
                "reward": 57_663,
                "continue": 41_153,
                "actor": 50_706,
                "critic": 66_111,
                "core": 377_472,
            },
        ),
        (
            "size12m",
            {
                "encoder": 220_416,
                "decoder": 1_272_003,
                "reward": 721_407,
                "continue": 656_129,
                "actor": 792_594,
                "critic": 853_503,
                "core": 5_982_720,
            },
        ),
    ],
)
def test_counts_of_parts_are_the_published_ones(size, parts):
    tree = params(ATARI, size)
    every = tree["model"] | tree["policy"]
    counts = {name: count_parameters(part) for name, part in every.items()}
    # The authors count core, prior and posterior as one module.
    counts["core"] += counts.pop("prior") + counts.pop("posterior")
    assert counts == parts


@pytest.mark.parametrize(
    ("size", "expected"), [("size1m", 640_867), ("size12m", 9_738_019)]
)
def test_counts_with_vectors_are_the_published_ones(size, expected):
    assert count_parameters(params(WALKER, size)) == expected
