"""`solomon serve`, with switches for faults that nobody can cause from outside.

SIGUSR1 lets the engine's thread die at its next turn. SIGUSR2 sets the wall clock, as this process sees it,
a day forward, and the next time two days back, and so on. With SOLOMON_FAULTS_MODEL=tiny it serves the random
two-layer model of the tests, which starts at once; SOLOMON_FAULTS_PATIENCE is the seconds that it waits for
clients which send no head or do not read.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from typing import Any

import model.engine.engine as engine_module
import service.startup
from model.engine import Engine, EngineSettings
from service.cli import main
from service.http_protocol import BoundedHttpProtocol

_DAY = 86_400.0


class EngineKilled(BaseException):
    """What ends the engine's thread: no handler of the engine's takes it for a request's failure."""


def kill_engine_at_signal() -> None:
    """Let the next turn of every engine's loop raise, once SIGUSR1 came."""
    killed = False
    turn = Engine._turn

    def turn_or_die(engine: Engine) -> None:
        if killed:
            raise EngineKilled
        turn(engine)

    def on_signal(number: int, frame: Any) -> None:
        nonlocal killed
        killed = True

    engine_module.Engine._turn = turn_or_die  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, on_signal)


def skew_clock_at_signal() -> None:
    """Move `time.time` at each SIGUSR2."""
    true_time = time.time
    offset = 0.0
    steps = itertools.cycle((_DAY, -2 * _DAY))

    def skewed() -> float:
        return true_time() + offset

    def on_signal(number: int, frame: Any) -> None:
        nonlocal offset
        offset += next(steps)

    time.time = skewed
    signal.signal(signal.SIGUSR2, on_signal)


def serve_tiny_model() -> None:
    """Put the tests' model in place of a checkpoint."""
    from tests.model.tiny import load_tiny

    def open_tiny(settings: Any, observer: Any = None) -> Engine:
        chosen = EngineSettings(max_queue=settings.max_queue, threads=1, dtype="float32")
        return Engine(load_tiny(checkpoint_sha256="ab" * 32), chosen, observer=observer)

    service.startup.open_engine = open_tiny


def set_patience(seconds: float) -> None:
    """Shorten what a connection may take, so that a test need not wait for it."""
    BoundedHttpProtocol.head_seconds = BoundedHttpProtocol.stall_seconds = seconds


if __name__ == "__main__":
    kill_engine_at_signal()
    skew_clock_at_signal()
    if os.environ.get("SOLOMON_FAULTS_MODEL") == "tiny":
        serve_tiny_model()
    if patience := os.environ.get("SOLOMON_FAULTS_PATIENCE"):
        set_patience(float(patience))
    main()
