"""Whether the trader lives, in one line, from its heartbeat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from trading.dashboard.views.words import shown, span

if TYPE_CHECKING:
    from trading.dashboard.state.live import Live

Level = Literal["good", "warn", "bad"]


class Status(NamedTuple):
    """Whether the trader lives: how good that is, in a word, and in a sentence."""

    level: Level
    word: str
    sentence: str


def status(live: Live) -> Status:
    """Whether the trader lives, by the machine's clock."""
    beat = live.heartbeat
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
            "bad", "dead", f"{last}; its last one said {shown(beat.state)!r}. Stops and "
            "targets rest at the exchange; start the trader again to have the rest looked after"
        )  # fmt: skip
    return Status(
        "good", "alive", f"its newest sign of life is {max(0.0, age):.0f} s old and says {shown(beat.state)!r}"
    )
