"""The trades of the account, in `trades_YYYY-MM-DD.json`: an array of the document's trade objects.

A file is replaced atomically (written aside, synced, renamed), so it is valid JSON at every instant.  A restarted
trader recovers its positions from it.  A trade is filed under the New York day of its entry.
"""

from __future__ import annotations

import bisect
import logging
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Final

import orjson

from trading.base.files import keep_beside, set_aside, to_json, why_unusable, write_bytes
from trading.records.trade import Trade
from trading.records.trade_file import day_of, read_trade_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["INDEX_FILE", "LOADED_DAYS", "Trade", "TradeLog", "newest_trades"]

logger = logging.getLogger(__name__)

LOADED_DAYS: Final = 60
"""Newest trade files that are in memory; figures, labels and the recovery of orders look no further back."""

INDEX_FILE: Final = "open_trades.json"

MOST_INDEX_BYTES: Final = 1_000_000


class TradeLog:
    """The trade files of one logs folder: those of the newest `LOADED_DAYS`, and older ones with an open trade.

    `open_trades.json` names the older days with an open trade, so that a start does not read years of files.  It is
    written before a trade of such a day is, and it is believed only if the number of older files is still the same.
    Without it a start reads every file once.  Reading alone writes nothing.

    A damaged file ends nothing: the trades in it that are whole are kept, `damaged` says what is wrong, and
    `set_damaged_aside` moves it away before it is replaced.

    Attributes:
        left_out: files whose name has no date, one line each.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        paths = sorted(folder.glob("trades_*.json"))
        self._known = sorted(day for path in paths if (day := day_of(path)) is not None)
        self.left_out = [f"{path}: its name has no date: left out" for path in paths if day_of(path) is None]
        self._index, damage = _Index.read(folder, self._known)
        self._damaged = {folder / INDEX_FILE: damage} if damage else {}
        self._unwritten: set[date] = set()
        self._days: dict[date, list[Trade]] = {}
        self._names: set[str] = set()
        self._all_closed: set[date] = set()
        self._kept_overnight: dict[date, list[Trade]] = {}
        newest = set(self._known[-LOADED_DAYS:])
        for day in self._known:
            if day in newest or self._index.may_be_open(day):
                self._load(day)
        self._drop_finished()

    @property
    def trades(self) -> list[Trade]:
        """The trades in memory, in the order of entry; `unread` says how many days are left out."""
        return [trade for day in sorted(self._days) for trade in self._days[day]]

    @property
    def open_trades(self) -> list[Trade]:
        """Trades that still hold shares, of any day."""
        found: list[Trade] = []
        for day in sorted(self._days.keys() - self._all_closed):
            still_open = [trade for trade in self._days[day] if trade.is_open]
            found += still_open
            if not still_open:
                self._all_closed.add(day)
        return found

    @property
    def damaged(self) -> list[str]:
        """What is wrong with each damaged file, one line each; empty once they are moved aside."""
        return [f"{path}: {damage}" for path, damage in self._damaged.items()]

    def set_damaged_aside(self) -> list[str]:
        """Move the damaged files aside, and write what could be saved of them in their place.

        Returns:
            One line for each, which says where it is now and what of it is kept.

        Raises:
            OSError: a file cannot be moved or written.
        """
        lines = []
        for path, damage in list(self._damaged.items()):
            day = day_of(path)
            if day is None:
                aside, kept = set_aside(path), "all trade files are read once"
            else:
                aside = keep_beside(path)
                trades = self._days.get(day, [])
                kept = f"{len(trades)} trades in it are kept, others are looked for in the audit and at the broker"
            lines.append(f"{path}: {damage}: moved to {aside.name}; {kept}")
            del self._damaged[path]
        if lines:
            self.save()
        return lines

    @property
    def unread(self) -> int:
        """Number of days with a trade file that is not in memory; all their trades are closed."""
        return len(self._known) - len(self._days)

    @property
    def first_day(self) -> date | None:
        """The day from which on every trade is in memory; None if there is none."""
        return min(self._known[-LOADED_DAYS:], default=None)

    def of_day(self, day: date) -> list[Trade]:
        """Trades entered on a New York day, one in memory."""
        return list(self._days.get(day, ()))

    def sold_on(self, day: date) -> list[Trade]:
        """Trades in memory whose exit lies on a New York day, in the order of the days of their entries."""
        found: list[Trade] = []
        for entered in sorted(one for one in self._days if one <= day):
            trades = self._days[entered] if entered == day else self._not_sold_at_once(entered)
            found += [trade for trade in trades if trade.exit_day == day]
        return found

    def _not_sold_at_once(self, entered: date) -> list[Trade]:
        """Trades of a day that were not sold on it; kept until one changes, because every minute asks for them."""
        if entered not in self._kept_overnight:
            kept = [trade for trade in self._days[entered] if trade.exit_day != entered]
            self._kept_overnight[entered] = kept
        return self._kept_overnight[entered]

    def has_entry(self, client_order_id: str) -> bool:
        """Whether a trade in memory has this entry order."""
        return client_order_id in self._names

    def has_order(self, order_id: str) -> bool:
        """Whether an open trade has an entry order with this id of the broker."""
        return any(trade.entry_order_id == order_id for trade in self.open_trades)

    def rename_entry(self, trade: Trade, client_order_id: str) -> None:
        """Give the entry of a trade another client_order_id; `save` makes it durable."""
        self._names.discard(trade.client_order_id)
        self._names.add(client_order_id)
        trade.client_order_id = client_order_id
        self.mark_changed(trade)

    def add(self, trade: Trade) -> None:
        """Add a new trade; `save` makes it durable."""
        self.start_day(trade.day)
        self._days[trade.day].append(trade)
        self._names.add(trade.client_order_id)
        self.mark_changed(trade)

    def mark_changed(self, trade: Trade) -> None:
        """Note that a trade has changed; `save` makes the change durable."""
        self._unwritten.add(trade.day)
        self._all_closed.discard(trade.day)
        self._kept_overnight.pop(trade.day, None)

    def start_day(self, day: date) -> None:
        """Ensure a file for `day`, even if nothing is traded; days that are no longer among the newest are dropped."""
        if day in self._days:
            return
        if day in self._known:
            self._load(day)
            return
        bisect.insort(self._known, day)
        self._days[day] = []
        self._unwritten.add(day)
        self._drop_finished()

    def save(self) -> None:
        """Write the days that have changed.

        Raises:
            OSError: a file cannot be written; the next `save` tries again.
        """
        if self._damaged:  # of a day that was not read before
            for line in self.set_damaged_aside():
                logger.error(line)
        index = self._index_now()  # named before it is open, so that no kill hides an open trade
        if self._index.through and not index.open_days <= self._index.open_days:
            self._write_index(replace(self._index, open_days=self._index.open_days | index.open_days))
        for day in sorted(self._unwritten):
            content = to_json([trade.as_json() for trade in self._days[day]], orjson.OPT_INDENT_2)
            write_bytes(self._folder / f"trades_{day}.json", content)
            self._unwritten.discard(day)
        if index != self._index:
            self._write_index(index)

    def _load(self, day: date) -> None:
        path = self._folder / f"trades_{day}.json"
        self._days[day], damage = read_trade_file(path)
        if damage:
            self._damaged[path] = damage
            self._unwritten.add(day)
        self._names |= {trade.client_order_id for trade in self._days[day]}

    def _drop_finished(self) -> None:
        """Drop the days before the newest from memory whose trades are all closed and written."""
        newest = set(self._known[-LOADED_DAYS:])
        for day in self._days.keys() - newest - self._unwritten:
            if not any(trade.is_open for trade in self._days[day]):
                self._names -= {trade.client_order_id for trade in self._days.pop(day)}
                self._kept_overnight.pop(day, None)

    def _index_now(self) -> _Index:
        older = self._known[:-LOADED_DAYS]
        if not older:
            return _Index()
        held = {day for day in self._days if day <= older[-1] and any(trade.is_open for trade in self._days[day])}
        return _Index(older[-1], len(older), frozenset(held))

    def _write_index(self, index: _Index) -> None:
        write_bytes(self._folder / INDEX_FILE, to_json(index.as_json()))
        self._index = index


@dataclass(frozen=True)
class _Index:
    """Which of the `files` oldest trade files, those up to the day `through`, have an open trade."""

    through: date | None = None
    files: int = 0
    open_days: frozenset[date] = frozenset()

    def may_be_open(self, day: date) -> bool:
        """Whether the file of a day may have an open trade."""
        return self.through is None or day > self.through or day in self.open_days

    def as_json(self) -> dict[str, object]:
        """The content of `open_trades.json`."""
        return {"through": str(self.through), "files": self.files, "open_days": sorted(map(str, self.open_days))}

    @staticmethod
    def read(folder: Path, known: Sequence[date]) -> tuple[_Index, str]:
        """The index of a folder, and what is wrong with its file; empty if nothing is.

        An index that is missing, damaged, or of other files knows nothing.
        """
        path = folder / INDEX_FILE
        if damage := why_unusable(path, MOST_INDEX_BYTES):
            return _Index(), damage
        try:
            fields = orjson.loads(path.read_bytes())
            through = None if fields["through"] == "None" else date.fromisoformat(fields["through"])
            index = _Index(through, int(fields["files"]), frozenset(map(date.fromisoformat, fields["open_days"])))
        except FileNotFoundError:
            return _Index(), ""
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError):
            return _Index(), "it is no index of trade files"
        if through is None:
            return _Index(), ""
        is_same = index.files == sum(1 for day in known if day <= through) and index.open_days <= set(known)
        return (index if is_same else _Index()), ""


def newest_trades(folder: Path, files: int) -> list[Trade]:
    """The trades of the newest `files` trade files, in the order of entry; what is damaged in them is left out."""
    paths = sorted(folder.glob("trades_*.json"))[-files:]
    return [trade for path in paths for trade in read_trade_file(path).trades]
