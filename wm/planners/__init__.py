"""Choosing actions, or improving values, by looking ahead in a model."""
