"""Throughput and cost, ours and peers in one run; results beside, as JSON."""
