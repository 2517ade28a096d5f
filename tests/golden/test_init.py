"""Initial values against the authors' rule and the statistics of their draws."""

import jax
import numpy as np
from names import below, read, tree_of

from wm.nets import codec, heads, initializers, mlp, recurrent
from wm.types import ArraySpec

SPEC = {"image": ArraySpec((64, 64, 3), "uint8")}
CONFIG = codec.CodecConfig(depth=4, units=64)


def test_truncated_normal_counts_all_dimensions_but_the_last():
    arrays = read("init")
    shapes = arrays["trunc_normal/shape"]
    statistics = arrays["trunc_normal/fanin_std_mean_maxabs_n"]
    for padded, (fan_in, std, _, largest, _) in zip(shapes, statistics, strict=True):
        shape = tuple(int(n) for n in padded if n)
        assert initializers.fans(shape)[0] == fan_in
        draw = initializers.truncated_normal()(jax.random.key(0), shape)
        error = 3 / np.sqrt(draw.size)
        np.testing.assert_allclose(draw.std(), std, rtol=error)
        np.testing.assert_allclose(np.abs(draw).max(), largest, rtol=max(0.01, error))


def size1m(key):
    """All nets of size 1m, 18 actions, as `tree_of` names them."""
    deter, hidden, stoch, actions = 512, 64, 128, 18
    features = np.zeros((1, deter + stoch), np.float32)
    h, z = features[:, :deter], features[:, deter:]
    keys = iter(jax.random.split(key, 9))
    encoder = codec.encoder(SPEC, CONFIG)
    image = {"image": np.zeros((1, 64, 64, 3), np.uint8)}
    encoded = encoder.init(next(keys), image)
    tokens = jax.eval_shape(encoder.apply, encoded, image)
    head = lambda layers, outscale: heads.HeadConfig(layers, 64, outscale)
    observed = np.zeros((1, deter + tokens.shape[-1]), np.float32)
    core = recurrent.block_gru(deter, hidden)
    return {
        "encoder": encoded,
        "decoder": codec.decoder(SPEC, CONFIG).init(next(keys), h, z),
        "core": core.init(next(keys), h, z, np.zeros((1, actions), np.float32)),
        "prior": mlp.mlp(2, hidden, out=stoch).init(next(keys), h),
        "posterior": mlp.mlp(1, hidden, out=stoch).init(next(keys), observed),
        "reward": heads.two_hot_head(head(1, 0.0)).init(next(keys), features),
        "continue": heads.binary_head(head(1, 1.0)).init(next(keys), features),
        "policy": heads.categorical_head(head(3, 0.01), actions).init(
            next(keys), features
        ),
        "value": heads.two_hot_head(head(3, 0.0)).init(next(keys), features),
    }


def test_size1m_starts_like_theirs():
    theirs = tree_of(below(read("init"), "init_size1m"))
    ours = jax.tree.map(np.asarray, jax.jit(size1m)(jax.random.key(1)))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)

    def check(path, x, expected):
        std, mean, largest = expected
        if x.ndim == 1 or std == 0:
            assert x.std() == std, path
            assert x.mean() == mean, path
        else:
            error = 4 / np.sqrt(x.size)
            np.testing.assert_allclose(x.std(), std, rtol=error, err_msg=str(path))
            assert np.abs(x).max() <= 1.01 * largest, path

    jax.tree_util.tree_map_with_path(check, ours, theirs)


def test_size1m_counts_and_shapes():
    arrays = read("init")
    ours = jax.eval_shape(size1m, jax.random.key(0))
    shapes = tree_of(below(arrays, "shape/size1m"))
    assert jax.tree.map(lambda x: tuple(x.shape), ours) == jax.tree.map(
        tuple, shapes, is_leaf=lambda x: isinstance(x, np.ndarray)
    )
    total = sum(x.size for x in jax.tree.leaves(ours))
    assert total == arrays["count/size1m/all"]
