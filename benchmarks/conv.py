"""Convolution inside a compiled loop and over seeds, the image codec, products.

python -m benchmarks.conv

Compared calls alternate and each one's fastest round counts, in CPU seconds where the
device is a CPU: ratios then survive neighbours on the machine. Pin it to one core.
Targets: in a scan at most 1.2 times the time outside, K seeds at most 1.2 K times one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.record import UNIT, clock, record, row
from wm.nets import codec
from wm.nets.conv import conv2d
from wm.nets.products import block_matmul, matmul
from wm.types import ArraySpec

STEPS, SEEDS, ROUNDS = 4, 4, 5


def main() -> None:
    """Print all rows and store them."""
    for case, (update, params, x) in updates(conv2d).items():
        record("conv.json", compare_loops(case, update, params, x))
        stock_update, _, _ = updates(stock)[case]
        record("conv.json", compare_stock(case, update, stock_update, params, x))
    for size, depth, images in (("1m", 4, 128), ("12m", 16, 32)):
        record("conv.json", compare_codec(size, depth, images))
    for count in (16, 1024):
        for inputs, outputs in ((64, 192), (256, 768)):
            record("conv.json", compare_blocks(count, inputs, outputs))
    for inputs, outputs in ((512, 64), (64, 255), (192, 512)):
        record("conv.json", compare_products(inputs, outputs))


def updates(conv: Callable) -> dict[str, tuple[Callable, Any, jax.Array]]:
    """Two small networks: an SGD update, its parameters, inputs `[STEPS, N, …]`."""
    keys = jax.random.split(jax.random.key(0), 7)
    shapes = [(4, 4, 3, 16), (4, 4, 16, 32), (4, 4, 32, 64)]
    strided = [jax.random.normal(k, s) / 8 for k, s in zip(keys, shapes, strict=False)]
    shapes = [(3, 3, 16, 16), (5, 5, 16, 32)]
    same = [jax.random.normal(k, s) / 8 for k, s in zip(keys[3:], shapes, strict=False)]
    images = jax.random.normal(keys[5], (STEPS, 32, 64, 64, 3))
    maps = jax.random.normal(keys[6], (STEPS, 64, 16, 16, 16))
    return {
        "3 x 4x4 stride 2, 32x64x64x3": (sgd(conv, 2), strided, images),
        "3x3 then 5x5, 64x16x16x16": (sgd(conv, 1), same, maps),
    }


def sgd(conv: Callable, stride: int) -> Callable:
    """`update(params, x) -> params` of a stack of convolutions."""

    def loss(params, x):
        for kernel in params:
            x = jax.nn.relu(conv(x, kernel, stride))
        return jnp.mean(jnp.square(x))

    def update(params, x):
        gradients = jax.grad(loss)(params, x)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)

    return update


def stock(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """The convolution of `jax.lax`, for comparison."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def scanned(update: Callable) -> Callable:
    """`update` over the leading axis of its inputs, params carried."""
    return lambda params, x: jax.lax.scan(
        lambda params, x: (update(params, x), None), params, x
    )[0]


def compare_loops(case: str, update, params, x) -> list[dict]:
    """One scan against calls outside, all seeds in one program against one seed."""
    alone, scan = jax.jit(update), jax.jit(scanned(update))
    seeds = jax.jit(jax.vmap(scanned(update)))
    stacked = jax.tree.map(lambda a: jnp.stack([a] * SEEDS), (params, x))

    def calls():
        carried = params
        for i in range(STEPS):
            carried = alone(carried, x[i])
        return carried

    seconds = fastest(
        {
            "calls": calls,
            "scan": lambda: scan(params, x),
            "seeds": lambda: seeds(*stacked),
        }
    )
    return [
        row("conv/in_scan", case, seconds["scan"], UNIT, seconds["calls"]),
        row(
            f"conv/{SEEDS}_seeds",
            case,
            seconds["seeds"],
            UNIT,
            SEEDS * seconds["scan"],
        ),
    ]


def compare_stock(case: str, update, stock_update, params, x) -> list[dict]:
    """Against the stock convolution, outside and (one round) in a scan."""
    ours, theirs = jax.jit(update), jax.jit(stock_update)
    outside = fastest(
        {"ours": lambda: ours(params, x[0]), "stock": lambda: theirs(params, x[0])}
    )
    ours, theirs = jax.jit(scanned(update)), jax.jit(scanned(stock_update))
    inside = fastest(
        {"ours": lambda: ours(params, x), "stock": lambda: theirs(params, x)}, rounds=1
    )
    return [
        row(
            "conv/outside_against_stock", case, outside["ours"], UNIT, outside["stock"]
        ),
        row("conv/in_scan_against_stock", case, inside["ours"], UNIT, inside["stock"]),
    ]


def compare_codec(size: str, depth: int, images: int) -> list[dict]:
    """Gradient of the 64x64 image encoder and decoder against the layers as written."""
    spec = ArraySpec((64, 64, 3), "uint8")
    config = codec.CodecConfig(depth=depth, units=16 * depth)
    encoder, decoder = codec.encoder(spec, config), codec.decoder(spec, config)
    keys = jax.random.split(jax.random.key(0), 5)
    image = jax.random.randint(keys[0], (images, 64, 64, 3), 0, 256).astype(jnp.uint8)
    h = jax.random.normal(keys[1], (images, 128 * depth))
    z = jax.random.normal(keys[2], (images, 32 * depth))
    params = (
        jax.jit(encoder.init)(keys[3], image),
        jax.jit(decoder.init)(keys[4], h, z),
    )

    def ours(params):
        tokens = encoder.apply(params[0], image)
        losses = decoder.losses(params[1], h, z, image)
        return jnp.sum(tokens**2) + jnp.sum(losses["image"])

    def written(params):
        return as_written(params[0]["image"], params[1]["image"], config, image, h, z)

    ours, written = jax.jit(jax.grad(ours)), jax.jit(jax.grad(written))
    seconds = fastest(
        {"ours": lambda: ours(params), "written": lambda: written(params)}, rounds=3
    )
    case = f"size {size}, {images} images 64x64"
    return [row("codec/gradient", case, seconds["ours"], UNIT, seconds["written"])]


def as_written(encoder, decoder, config, image, h, z) -> jax.Array:
    """The same loss from stock convolutions, maximum and repetition."""

    def finish(layer, x):
        mean_square = jnp.mean(jnp.square(x), -1, keepdims=True)
        return jax.nn.silu(x * jax.lax.rsqrt(mean_square + 1e-4) * layer["scale"])

    x = image.astype(jnp.float32) / 255 - 0.5
    for i in range(len(config.depths)):
        layer = encoder[f"stage{i}"]
        x = stock(x, layer["kernel"]) + layer["bias"]
        N, H, W, C = x.shape
        x = finish(layer, x.reshape(N, H // 2, 2, W // 2, 2, C).max((2, 4)))
    loss = jnp.sum(x**2)
    N, rows, columns, channels = x.shape
    x = jnp.einsum(
        "nbi,bio->nbo", h.reshape(N, config.blocks, -1), decoder["deter"]["kernel"]
    )
    x = x.reshape(N, config.blocks, rows, columns, -1)
    x = jnp.moveaxis(x, 1, 3).reshape(N, rows, columns, channels)
    hidden = z @ decoder["stoch0"]["kernel"] + decoder["stoch0"]["bias"]
    hidden = finish(decoder["stoch0"], hidden) @ decoder["stoch1"]["kernel"]
    x = finish(decoder["norm"], x + hidden.reshape(x.shape))
    for i in [*reversed(range(len(config.depths) - 1)), "out"]:
        layer = decoder["out" if i == "out" else f"stage{i}"]
        x = stock(x.repeat(2, 1).repeat(2, 2), layer["kernel"]) + layer["bias"]
        x = jax.nn.sigmoid(x) if i == "out" else finish(layer, x)
    return loss + jnp.sum(jnp.square(x - image.astype(jnp.float32) / 255))


def compare_blocks(count: int, inputs: int, outputs: int) -> list[dict]:
    """Eight blocks, in a scan with the weight gradient: GFLOP/s against an einsum."""
    loops = 4 if count > 100 else 64
    key_x, key_kernel = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (loops, count, 8 * inputs))
    kernel = jax.random.normal(key_kernel, (8, inputs, outputs)) / 16

    def einsum(x, kernel):
        y = jnp.einsum("nbi,bio->nbo", x.reshape(-1, 8, inputs), kernel)
        return y.reshape(-1, 8 * outputs)

    def gradient(product):
        def total(x, kernel):
            step = lambda total, x: (total + jnp.sum(product(x, kernel) ** 2), None)
            return jax.lax.scan(step, 0.0, x)[0]

        return jax.jit(jax.grad(total, (0, 1)))

    ours, theirs = gradient(block_matmul), gradient(einsum)
    seconds = fastest(
        {"ours": lambda: ours(x, kernel), "einsum": lambda: theirs(x, kernel)}
    )
    work = 3 * loops * 2 * count * 8 * inputs * outputs / 1e9
    rate = {name: work / s for name, s in seconds.items()}
    case = f"{count} rows, 8 x {inputs} -> {outputs}"
    return [row("blocks/gradient", case, rate["ours"], "GFLOP/s", rate["einsum"])]


def compare_products(inputs: int, outputs: int) -> list[dict]:
    """A dense product with both gradients: GFLOP/s against `x @ kernel`."""
    key_x, key_kernel, key_g = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(key_x, (15, 1024, inputs))
    kernel = jax.random.normal(key_kernel, (inputs, outputs)) / 16
    g = jax.random.normal(key_g, (15, 1024, outputs))

    def gradient(product):
        return jax.jit(lambda x, kernel, g: jax.vjp(product, x, kernel)[1](g))

    ours, theirs = gradient(matmul), gradient(jnp.matmul)
    seconds = fastest(
        {"ours": lambda: ours(x, kernel, g), "plain": lambda: theirs(x, kernel, g)}
    )
    rate = {name: 4 * x.size * outputs / s / 1e9 for name, s in seconds.items()}
    case = f"15 x 1024 rows, {inputs} -> {outputs}"
    return [row("products/gradient", case, rate["ours"], "GFLOP/s", rate["plain"])]


def fastest(
    calls: dict[str, Callable[[], Any]], rounds: int = ROUNDS
) -> dict[str, float]:
    """Seconds of each call's fastest round; rounds alternate between the calls."""
    best = {}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            jax.block_until_ready(call())
            seconds = clock() - start
            best[name] = min(seconds, best.get(name, seconds))
    return best


if __name__ == "__main__":
    main()
