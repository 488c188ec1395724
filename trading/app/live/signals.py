"""The signals that end a program: SIGINT (Ctrl-C), SIGTERM, and SIGHUP where the system has it.

The exit code follows the shell's convention, 128 plus the signal's number: 130, 143 and 129.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object] | int | None

SIGNALS: Final = tuple(
    signal.Signals[name]
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if name in signal.Signals.__members__  # Windows has no SIGHUP
)


class StopSignal(KeyboardInterrupt):
    """A signal asked the program to end; raised in the main thread, wherever it is.

    Attributes:
        again: what the same command does next, as a sentence; empty if that is clear.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.again = ""

    @property
    def exit_code(self) -> int:
        """The exit code that a shell reports for a program that this signal ended."""
        return 128 + self.number


class SignalHandler:
    """A context in which the signals raise `StopSignal`, or call a function after `divert`.

    A signal that the parent process set to be ignored (nohup) stays ignored.  Main thread only.

    Attributes:
        received: the first signal that arrived; None if none did.
    """

    def __init__(self) -> None:
        self._previous: dict[int, Handler] = {}
        self._call: Callable[[], None] | None = None
        self.received: StopSignal | None = None

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def divert(self, call: Callable[[], None]) -> None:
        """From now on, call this function (in the main thread) on a signal instead of raising."""
        self._call = call

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.received = self.received or StopSignal(number)
        if self._call is None:
            raise self.received
        self._call()
