"""Tables of runs: which there are, where they run, how they stand.

The unit is one `wm train` with its own run directory; nothing here trains.
"""
