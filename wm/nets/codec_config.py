"""Sizes of the codec."""

from __future__ import annotations

import dataclasses

from wm.nets import norms


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """Sizes of `encoder` and `decoder`; defaults are those of size 200m.

    Source: Hafner et al. 2025, Table 3, and `configs.yaml` of the authors.
    """

    depth: int = 64
    """Channels of the first image stage are depth * multipliers[0]."""
    multipliers: tuple[int, ...] = (2, 3, 4, 4)
    """Channels of each image stage in units of depth; every stage halves the image."""
    units: int = 1024
    """Width of the vector layers; the decoder's latent layer has twice as many."""
    layers: int = 3
    """Vector layers."""
    kernel: int = 5
    """Size of the image kernels, pixels."""
    act: str = "silu"
    """Activation of all layers."""
    norm: norms.NormName = "rms"
    """Norm of all layers."""
    symlog: bool = True
    """Squash vectors by sign(x) log(1 + |x|), inputs and targets."""
    blocks: int = 8
    """Blocks of the decoder's projection of h to the smallest image."""
    outscale: float = 1.0
    """Factor on the initial output kernels of the decoder."""
    dtype: str = "float32"
    """Compute type; parameters are float32."""

    @property
    def depths(self) -> tuple[int, ...]:
        """Channels of each image stage."""
        return tuple(self.depth * multiplier for multiplier in self.multipliers)
