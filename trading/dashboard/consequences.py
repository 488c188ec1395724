"""What an action of the page Control means now: whether a trader lives, what is held, and which files are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trading.dashboard.views.status import selling, status
from trading.execution.control_files import ALL
from trading.reports.page import counted

if TYPE_CHECKING:
    from trading.dashboard.control import Action
    from trading.dashboard.state.live import Live


def consequence(live: Live, action: Action, target: str) -> str:
    """What follows of an action, beside its own words; for the question before it and for the answer after it."""
    match action:
        case "flatten":
            does = selling(status(live).word)
            return f"{does[0].upper()}{does[1:]} {_held(live)}"
        case "stop":
            return _stop(live)
        case "take_back":
            return f"{_life(live, 'A trader that still runs trades again from its next minute.')} {_held(live)}"
        case "pause":
            return _pause(live, target)
        case "resume" | "use":
            return "STOP is there: nothing is bought until it is taken back." if live.controls.stop else ""


def _stop(live: Live) -> str:
    lines = [_life(live, ""), _held(live)]
    if live.open_trades:
        lines.append("After the close an open position has no stop.")
    if live.controls.flatten:
        lines.append("FLATTEN is there too: while STOP is there, nothing is sold.")
    return " ".join(line for line in lines if line)


def _pause(live: Live, target: str) -> str:
    lines = []
    stocks = live.audit.symbols
    if target != ALL and stocks and target not in stocks:
        lines.append(f"{target} is not among today's {counted(len(stocks), 'stock')}; it can be paused all the same.")
    if live.controls.stop:
        lines.append("STOP is there: positions are neither managed nor sold until it is taken back.")
    return " ".join(lines)


def _life(live: Live, alive: str) -> str:
    word = status(live).word
    if word == "unknown":
        return f"{alive} Whether a trader runs is not known.".strip()
    return alive if word == "alive" else f"No trader lives (it is {word}): nothing happens until the next start."


def _held(live: Live) -> str:
    number = len(live.open_trades)
    if not number:
        return "No position is open."
    return f"{counted(number, 'position')} {'is' if number == 1 else 'are'} open."
