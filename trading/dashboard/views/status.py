"""Whether the trader lives, what that means for the open positions, and what the control files do, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from trading.dashboard.views.market_hours import market_hours, session_is_over
from trading.dashboard.views.words import shown, span
from trading.reports.page import counted

if TYPE_CHECKING:
    from trading.dashboard.state.audit_state import Discrepancy
    from trading.dashboard.state.live import Live

Level = Literal["good", "warn", "bad"]

STATES: Final = {
    "preparing": "preparing the day", "waiting": "waiting for what comes next", "minute": "at work on a minute",
    "evening": "at the evening's training",
}  # fmt: skip
"""State of the sign of life -> its words."""

NO_LOGS: Final = "does not exist: the first run of a trader makes it, or its name is not that of the trader's folder"
"""What is said of a missing logs folder, after its name."""

PROTECTION: Final = frozenset({"unprotected", "not_flat"})
"""Discrepancies that say that held shares have no stop, or are held after the close."""

IN_THE_WAY: Final = "order_in_the_way"
"""Discrepancy that says that an order of somebody else keeps held shares from being sold or given a stop."""


class Status(NamedTuple):
    """Whether the trader lives: how good that is, in a word, and in a sentence; and whether the market is open."""

    level: Level
    word: str
    sentence: str
    market: str = ""


def status(live: Live) -> Status:
    """Whether the trader lives, by the machine's clock, and whether the open positions are protected."""
    found = _life(live)
    lost = lost_protection(live)
    bare = sorted({one.symbol for one in lost if one.event in PROTECTION})
    stuck = sorted({one.symbol for one in lost if one.event == IN_THE_WAY})
    sentence = f"{found.sentence}. {_positions(live, found.word)}"
    if bare:
        sentence += f" No stop protects {', '.join(shown(symbol) for symbol in bare)}."
    if stuck:
        names = ", ".join(shown(symbol) for symbol in stuck)
        sentence += f" An order of somebody else is in the way of stops and sales of {names}."
    return Status("bad" if lost else found.level, found.word, sentence, market_hours(live))


def lost_protection(live: Live) -> list[Discrepancy]:
    """The discrepancies of held stocks that say that nothing may protect them, and that have not ended."""
    held = {trade.symbol for trade in live.open_trades}
    weighty = {*PROTECTION, IN_THE_WAY}
    return [one for one in live.audit.discrepancies if one.event in weighty and one.symbol in held and not one.ended]


def standing(live: Live) -> list[str]:
    """What STOP and FLATTEN do now, a sentence each; empty if neither is there."""
    controls, word = live.controls, status(live).word
    if controls.stop and controls.flatten:
        return ["STOP and FLATTEN are both there: STOP forbids every order, so nothing is sold. To sell everything, "
                "take both back first, then give FLATTEN again."]  # fmt: skip
    if controls.stop:
        return ["STOP is there: no order is sent and no lost stop is replaced; resting orders stay until the session "
                "ends."]  # fmt: skip
    if controls.flatten:
        return [f"FLATTEN is there: {selling(word)}"]
    return []


def pauses(live: Live) -> str:
    """What PAUSED says; what it means for positions is said only where it is true."""
    return shown(live.controls.paused.in_words(stopped=live.controls.stop))


def selling(word: str) -> str:
    """What FLATTEN does, by the word of the status."""
    if word == "alive":
        return "the trader sells everything at market, and ends once nothing is held."
    if word == "unknown":
        return (
            "a trader that runs sells everything at market and ends; without one, nothing is sold until the next start."
        )
    return "no trader lives, so nothing is sold until the next start, which sells everything and ends."


def _life(live: Live) -> Status:
    beat = live.heartbeat
    if not live.has_logs:
        return Status("warn", "unknown", f"the logs folder {NO_LOGS}")
    if beat is None:
        return Status("warn", "unknown", "no sign of life file: the trader of this folder writes none or never ran")
    age = beat.age(live.read_at)
    if beat.state == "stopped":
        return Status(
            "warn", "stopped", f"the trader stopped {span(max(0.0, age))} ago; nothing is decided until it starts again"
        )
    if not beat.is_alive(live.read_at):
        last = (
            f"no sign of life for {span(age)}"
            if age > 0
            else (
                f"the newest sign of life lies {span(-age)} in the future, so a clock was changed and it proves nothing"
            )
        )
        return Status(
            "bad", "dead", f"{last}; it was {STATES.get(beat.state, shown(beat.state))}. "
            "Nothing is decided, replaced or sold until it starts again"
        )  # fmt: skip
    return Status(
        "good",
        "alive",
        f"it is {STATES.get(beat.state, shown(beat.state))}; its newest sign of life is {max(0.0, age):.0f} s old",
    )


def _positions(live: Live, word: str) -> str:
    """How many positions are open, and what protects them."""
    number = len(live.open_trades)
    if not number:
        return "No position is open."
    held = f"{counted(number, 'position')} {'is' if number == 1 else 'are'} open"
    if session_is_over(live):
        return f"{held} after the close, without a stop: stops and targets ended with the session."
    if word == "alive" and not live.controls.stop:
        return f"{held}."
    return f"{held}: stops and targets that rest at the exchange end with the session."
