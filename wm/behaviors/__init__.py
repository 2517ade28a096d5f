"""Policies over model states and the losses that train them."""
