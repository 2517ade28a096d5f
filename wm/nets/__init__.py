"""Networks as pairs of pure functions over plain nested dicts.

The only room that imports `flax.linen`. What must not live here: losses,
distributions, anything that samples.
"""
