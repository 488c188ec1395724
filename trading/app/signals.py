"""Ctrl-C, SIGTERM and a terminal that hangs up: a run is asked to end, and ends in order.

Exit codes are the shell's: 128 and the signal's number, so 130 after Ctrl-C, 143 after SIGTERM, 129 after a hang-up.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

SIGNALS: Final = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)  # Windows has no SIGHUP
)


class Stop(KeyboardInterrupt):
    """A signal asks the program to end; raised wherever the main thread is."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell says of a program that a signal ended."""
        return 128 + self.number


class Stops:
    """While the block runs, the signals raise `Stop`; after `divert` they call a function instead.

    A signal that is ignored from outside (nohup) stays ignored.  Main thread only.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._call: Callable[[], None] | None = None
        self.stop: Stop | None = None
        """The first signal that came."""

    def __enter__(self) -> Stops:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def divert(self, call: Callable[[], None]) -> None:
        """From now on let a signal call this (from the main thread) and raise nothing."""
        self._call = call

    def _arrived(self, number: int, _: FrameType | None) -> None:
        self.stop = self.stop or Stop(number)
        if self._call is None:
            raise self.stop
        self._call()
