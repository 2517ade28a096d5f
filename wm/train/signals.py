"""Signals that ask a run to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def asked(ask: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and the first SIGINT call `ask`; a SIGINT after that interrupts.

    Only the main thread can be told; in others nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = False

    def handle(number, frame):
        nonlocal before
        if before and number == signal.SIGINT:
            raise KeyboardInterrupt
        before = True
        ask()

    old = {n: signal.signal(n, handle) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
