"""What a person may do from the page Control: the same files as at the machine, each act in a log of its own."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from trading.base.clock import NEW_YORK
from trading.base.errors import UserError
from trading.base.files import MOST_OF_LOG, LineLog, line_files, read_lines, why_unusable
from trading.dashboard.views.words import shown
from trading.execution.control_files import ALL, ControlFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Action = Literal["stop", "flatten", "take_back", "pause", "resume", "use"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

WITH_TARGET: Final = frozenset({"pause", "resume", "use"})
"""Actions that are about one stock or one model."""

ALWAYS: Final = frozenset({"stop", "flatten", "pause"})
"""Actions that make trading safer: they are taken even if the log cannot be written."""

NEWEST: Final = 20
"""Newest acts that the page shows."""


class Words(NamedTuple):
    """How an action reads: its button, what it will do, and what was done; `{}` stands for the stock or model."""

    button: str
    asks: str
    done: str


WORDS: Final[dict[Action, Words]] = {
    "stop": Words("STOP", "The trader sends no order any more from its next minute on, not even before the close, and "
                  "replaces no stop that is lost. Stops and targets that rest at the exchange stay until they end with "
                  "the session. The trader keeps running.", "STOP is there."),
    "flatten": Words("FLATTEN", "Everything is to be sold at market.", "FLATTEN is there."),
    "take_back": Words("Take back STOP and FLATTEN", "Both files are removed.", "STOP and FLATTEN are removed."),
    "pause": Words("Pause entries in {}", "Nothing is bought in {} until you resume it. A position in it is managed "
                   "and sold as usual.", "Entries in {} are paused."),
    "resume": Words("Resume entries in {}", "{} may be bought again.", "Entries in {} are resumed."),
    "use": Words("Put model {} into service", "The trader follows at 4 AM or before the evening's training, until a "
                 "new model is promoted.", "Model {} is chosen."),
}  # fmt: skip

SYMBOL: Final = re.compile(r"[A-Z][A-Z.\-]{0,9}")
"""What a stock that is to be paused looks like."""


def stock(target: str) -> str:
    """A target as the words name it."""
    return "every stock" if target == ALL else target


@dataclass(frozen=True)
class Control:
    """The actions of one trader.

    Attributes:
        choose: puts a model into service; returns one line that says what was done; raises UserError if it cannot.
    """

    files: ControlFiles
    logs: Path
    choose: Callable[[str], str]

    def act(self, action: Action, target: str, who: str) -> str:
        """Take an action; returns one line that says what was done.

        Args:
            target: the stock or the model; empty for the other actions.
            who: where the request came from.

        Raises:
            UserError: it was not done, and why.
        """
        unwritten = self._note(action, target, who, "asked")
        if unwritten and action not in ALWAYS:
            raise UserError(f"nothing was done, because it cannot be recorded: {unwritten}")
        try:
            said = self._act(action, target)
        except (UserError, OSError) as error:
            reason = error.strerror or "the file cannot be written" if isinstance(error, OSError) else str(error)
            self._note(action, target, who, "failed", reason=shown(reason))
            raise UserError(shown(reason)) from None
        self._note(action, target, who, "done")
        return said + (f" It could not be recorded: {unwritten}." if unwritten else "")

    def check(self, action: Action, target: str) -> None:
        """Check whether an action can do what it says.

        Raises:
            UserError: it cannot, and why.
        """
        if action == "flatten" and self.files.stop_requested:
            raise UserError("STOP is there. It forbids every order, so FLATTEN would sell nothing: take back STOP "
                            "first, then give FLATTEN.")  # fmt: skip
        if action == "pause" and target != ALL and not SYMBOL.fullmatch(target):
            raise UserError(
                f"{target!r} is no symbol of a US stock: write it as AMD or BRK.B, or {ALL} for every stock."
            )

    def _act(self, action: Action, target: str) -> str:
        self.check(action, target)
        match action:
            case "stop":
                self.files.stop()
            case "flatten":
                self.files.flatten()
            case "take_back":
                self.files.take_back()
            case "pause":
                self.files.pause(target)
            case "resume":
                self.files.resume(target)
            case "use":
                return self.choose(target)
        return WORDS[action].done.format(stock(target))

    def _note(self, action: Action, target: str, who: str, what: str, **more: str) -> str:
        """Write a line to the log; returns why it could not be, empty if it could."""
        now = datetime.now(UTC)
        path = self.logs / f"control_{now.astimezone(NEW_YORK).date()}.jsonl"
        record = {"time": now.astimezone(NEW_YORK).isoformat(timespec="milliseconds"), "event": what,
                  "action": action, "target": target, "who": who, **more}  # fmt: skip
        if not self.logs.is_dir():  # a folder of logs is made by its trader alone
            return "there is no folder of logs"
        if damage := why_unusable(path, MOST_OF_LOG, appended=True):
            return f"{path.name}: {damage}"
        try:
            log = LineLog(path)
            try:
                log.append([record], sync=True)
            finally:
                log.close()
        except OSError as error:
            return error.strerror or type(error).__name__
        return ""

    def newest(self) -> tuple[list[tuple[str, str, str, str]], list[str]]:
        """The newest acts, the newest first (time, what, who, and how it went), and what could not be read."""
        records: list[dict[str, Any]] = []
        findings: list[str] = []
        for path in reversed(line_files(self.logs, "control")):
            try:
                records = [*deque((one for one in read_lines(path) if isinstance(one, dict)), NEWEST), *records]
            except OSError as error:
                findings.append(shown(f"{path.name}: cannot be read ({error.strerror}); its acts are left out"))
            if len(records) >= NEWEST:
                break
        rows = []
        for record in reversed(records[-NEWEST:]):
            what = f"{record.get('action', '')} {record.get('target', '')}".strip().replace("_", " ")
            went = str(record.get("event", "")) + (f": {record['reason']}" if record.get("reason") else "")
            rows.append((shown(str(record.get("time", ""))[:19].replace("T", " ")), shown(what),
                         shown(record.get("who", "")), shown(went)))  # fmt: skip
        return rows, findings
