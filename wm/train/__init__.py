"""Runners, evaluation, checkpoints and logs; never imports an agent."""
