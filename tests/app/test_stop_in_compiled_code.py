"""A signal that arrives within compiled code ends a script as any other: one line and the exit code of the signal."""

from __future__ import annotations

import signal

import pytest

from trading.app.cli import run


def test_a_signal_within_compiled_code_stops_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as stop:  # as the dispatcher of numba passes it on
            raise SystemError("CPUDispatcher returned a result with an exception set") from stop
        return 0

    assert run(main) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_another_system_error_is_not_taken_for_a_signal() -> None:
    def main() -> int:
        raise SystemError("bad internal call")

    with pytest.raises(SystemError, match="bad internal call"):
        run(main)
