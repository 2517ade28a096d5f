"""The optional dependency groups, and whether they are installed. Strings only."""

from __future__ import annotations

from importlib import util

EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {
    "cuda": (("jax_cuda12_plugin",), "NVIDIA GPUs"),
    "tpu": (("libtpu",), "TPUs"),
    "brax": (("brax",), "brax/… environments"),
    "host": (("envpool", "gymnasium"), "atari/… and dmc/… environments, gymnasium"),
    "craftax": (("craftax",), "craftax/… environments"),
    "playground": (("mujoco_playground",), "playground/… environments"),
    "crafter": (("crafter",), "crafter/… environments"),
    "boards": (("pgx",), "pgx/… board games"),
    "sweep": (("ray", "submitit"), "sweeps across machines"),
    "dev": (("pytest", "ruff", "scipy"), "tests and checks"),
}
"""Extra → the packages that it brings, what it is for."""


def installed(extra: str) -> bool:
    """Whether all packages of an extra can be found; none is imported."""
    packages = EXTRAS[extra][0] if extra in EXTRAS else (extra,)
    return all(util.find_spec(package) is not None for package in packages)
