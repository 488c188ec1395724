"""Reading a logs folder for a report: what is damaged becomes one line, and the rest is read.

Nothing is written, and no file is locked, so a trader may be at work in the folder.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard

import orjson

from trading.base import written
from trading.base.clock import NEW_YORK, parse_instant
from trading.base.files import line_files, read_lines, read_regular
from trading.records.heartbeat import YEARS_OF_RUNS
from trading.records.trade import LARGEST_RESULT, Trade, sound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import date
    from pathlib import Path

    from trading.records.journal import Record

MOST_OF_TRADES: Final = 100_000_000
"""Bytes of the trades of a day; a trade has some 1 kB."""

MOST_SEARCHED: Final = 500_000_000
"""Bytes of an audit that is searched as a whole."""

NEW_YORK_OFFSETS: Final = ("-04:00", "-05:00")

KINDS: Final = ("trades", "audit", "predictions")


class Glance(NamedTuple):
    """A file of trades at a glance.

    Attributes:
        sold: New York day of the sale -> results of the trades sold on it, dollars as booked.
        kept: whether a trade of the file was not sold on the day of its purchase, as far as can be seen.
        wrong: trades whose result cannot be true; it counts as 0.
    """

    sold: dict[date, list[float]]
    kept: bool
    wrong: int


class LogReader:
    """The files of one logs folder.

    Attributes:
        findings: one line for each thing that is damaged, missing or left out.
        damaged: days whose file of trades could not be read, once it was tried.
        left_out: day -> number of records of its file of trades that are no sound trade, once it was read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.findings: list[str] = []
        self.damaged: set[date] = set()
        self.left_out: dict[date, int] = {}
        self._glances: dict[date, Glance | None] = {}
        self._days = {kind: self._days_of(kind) for kind in KINDS}

    def days(self, *kinds: str) -> list[date]:
        """The days that have a file of one of the kinds (`KINDS`), in order; of any kind if none is named."""
        return sorted(set().union(*(self._days[kind] for kind in kinds or KINDS)))

    def trades(self, days: Iterable[date]) -> list[Trade]:
        """The trades in the files of `days`, in the order of their entries."""
        found: dict[str, Trade] = {}
        for day in days:
            if day not in self._days["trades"]:
                continue
            path = self.folder / f"trades_{day}.json"
            records = self._records(path)
            if records is None:
                self.damaged.add(day)
            wrong: dict[str, list[int]] = {}
            for number, record in enumerate(records or (), 1):
                try:
                    trade = _in_order(sound(Trade.from_json(record)))
                except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError) as error:
                    wrong.setdefault(_reason(error), []).append(number)
                    continue
                name = trade.client_order_id or f"{path.name}-{number}"
                if name in found:
                    self._find(path, f"trade {number} is left out: {name} stands in the logs twice")
                else:
                    found[name] = trade
            for reason, numbers in wrong.items():
                several = f"{len(numbers):,} trades are" if len(numbers) > 1 else f"trade {numbers[0]} is"
                self._find(path, f"{several} left out ({reason})")
            self.left_out[day] = sum(map(len, wrong.values()))
        return sorted(found.values(), key=lambda trade: (trade.entry_time, trade.symbol))

    def glance(self, day: date) -> Glance | None:
        """What the file of trades of a day says at a glance; None if there is none, or it cannot be read.

        It is ten times as fast as `trades`: of a record only the result and the time of the sale are looked at.
        """
        if day not in self._days["trades"] or day in self.damaged:
            return None
        if day not in self._glances:
            path = self.folder / f"trades_{day}.json"
            records = self._records(path)
            found = None if records is None else _at_a_glance(day, records)
            if found is not None and found.wrong:
                trades = "1 trade" if found.wrong == 1 else f"{found.wrong:,} trades"
                self._find(path, f"pnl_amount of {trades} cannot be true; it counts as 0 in the list of days")
            self._glances[day] = found
        return self._glances[day]

    def audit_has(self, day: date, text: bytes) -> bool:
        """Whether the audit of a day holds a text; True too where it is damaged, and may hold it."""
        path = self.folder / f"audit_{day}.jsonl"
        packed = path.with_name(f"{path.name}.gz")
        try:
            if path.exists() and text in read_regular(path, MOST_SEARCHED):
                return True
            return packed.exists() and text in read_regular(packed, MOST_SEARCHED, packed=True)
        except (OSError, EOFError, zlib.error):
            return path.exists() or packed.exists()  # it is read line by line, as far as it goes

    def audit(self, day: date, wanted: Callable[[bytes], bool] | None = None) -> Iterator[Record]:
        """The audit events of a day, none if it has no audit.

        Args:
            wanted: takes the text of a line and says whether it is parsed; None for all lines.
        """
        yield from self._lines("audit", day, wanted)

    def predictions(self, day: date, wanted: Callable[[bytes], bool] | None = None) -> Iterator[Record]:
        """The predictions on the bars of a day, with `wanted` as in `audit`."""
        yield from self._lines("predictions", day, wanted)

    def _lines(self, kind: str, day: date, wanted: Callable[[bytes], bool] | None) -> Iterator[Record]:
        if day not in self._days[kind]:
            return
        path = self.folder / f"{kind}_{day}.jsonl"
        broken = 0

        def note(_: int) -> None:
            nonlocal broken
            broken += 1

        try:
            for record in read_lines(path, broken=note, wanted=wanted):
                if isinstance(record, dict):
                    yield record
                else:
                    broken += 1
        except OSError as error:
            self._find(path, f"cannot be read ({error.strerror or error})")
        if broken:
            lines = "1 line" if broken == 1 else f"{broken:,} lines"
            self._find(path, f"{lines} damaged or cut short; the others are reported")

    def _records(self, path: Path) -> Sequence[Any] | None:
        """The records of a file of trades, compressed or not; None if it is damaged as a whole."""
        packed = path.with_name(f"{path.name}.gz")
        try:
            is_plain = path.exists()
            content = read_regular(path if is_plain else packed, MOST_OF_TRADES, packed=not is_plain)
            records = orjson.loads(content)
        except OSError as error:
            self._find(path, f"cannot be read ({error.strerror or error}); its trades are left out")
        except (EOFError, zlib.error, ValueError) as error:
            self._find(path, f"is damaged ({_reason(error)}); its trades are left out")
        else:
            if isinstance(records, list) and (not records or any(_is_trade(one) for one in records)):
                return records
            self._find(path, "is not a trade log; it is left out")
        return None

    def _days_of(self, kind: str) -> set[date]:
        if kind == "trades":
            paths = {path.name.removesuffix(".gz") for path in self.folder.glob("trades_*.json*")}
            names = sorted(name for name in paths if name.endswith(".json"))
        else:
            names = [path.name for path in line_files(self.folder, kind)]
        found = set()
        for name in names:
            day = written.day(name.removeprefix(f"{kind}_").split(".")[0])
            if day is None:
                self._find(self.folder / name, "its name has no date; it is left out")
            elif day.year not in YEARS_OF_RUNS:  # a simulated session may lie in a year to come
                self._find(
                    self.folder / name,
                    f"the year in its name is not {YEARS_OF_RUNS[0]} to {YEARS_OF_RUNS[-1]}; it is left out",
                )
            else:
                found.add(day)
        return found

    def _find(self, path: Path, what: str) -> None:
        line = f"{path.name}: {what}"
        if line not in self.findings:
            self.findings.append(line)


def _at_a_glance(day: date, records: Sequence[Any]) -> Glance:
    sold: dict[date, list[float]] = {}
    kept, wrong = False, 0
    for record in records:
        if not isinstance(record, dict):
            continue
        until = _sold_on(record.get("exit_time"), str(day), day)
        kept |= until != day
        amount = record.get("pnl_amount")
        if until is None or amount is None:
            continue
        is_possible = _is_result(amount)
        wrong += not is_possible
        sold.setdefault(until, []).append(amount if is_possible else 0.0)
    return Glance(sold, kept, wrong)


def _sold_on(text: object, shown: str, day: date) -> date | None:
    """The New York day of an instant, in most cases `day`, which is written `shown`; None if it is none."""
    if not isinstance(text, str):
        return None
    if text.startswith(shown) and text.endswith(NEW_YORK_OFFSETS):
        return day
    try:
        return parse_instant(text).astimezone(NEW_YORK).date()
    except (ValueError, OverflowError):
        return None


def _is_trade(record: object) -> bool:
    return isinstance(record, dict) and "symbol" in record


def _is_result(value: object) -> TypeGuard[float]:
    """Whether a value can be the result of a trade in dollars."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_RESULT


def _reason(error: Exception) -> str:
    if isinstance(error, TypeError | AttributeError):
        return "it is not the record of a trade, or a field has another type"
    text = " ".join(str(error).split())[:120]
    return f"no field {text}" if isinstance(error, KeyError) else text or type(error).__name__


def _in_order(trade: Trade) -> Trade:
    """The trade, if its times are possible and in order; figures of others would be of a negative time.

    Raises:
        ValueError: they are not.
    """
    for at in (trade.entry_time, trade.exit_time, trade.decision_time, trade.target_first_time):
        if at is not None and at.year not in YEARS_OF_RUNS:
            raise ValueError(f"a time in the year {at.year}")
    if trade.exit_time is not None and trade.exit_time < trade.entry_time:
        raise ValueError(f"exit_time={trade.exit_time.isoformat()} lies before the entry")
    return trade
