"""The trade files of `backtest.py --logs-dir`."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trading.app.backtest.fills import PathFills
from trading.app.inputs import check_folder
from trading.backtest.engine.trade_records import TradeRecords
from trading.base.errors import UserError
from trading.base.market_folders import BACKTEST_MARKER, mark_backtest
from trading.performance.universe import UNIVERSE_FILE, write_universe
from trading.records.trade_log import TradeLog

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from config import Settings
    from trading.base.calendar import Session
    from trading.base.market_folders import MarketId
    from trading.performance.universe import UniversePrices


def check_folders(options: argparse.Namespace, settings: Settings) -> None:
    """Check before any work that the folders of the results can be written.

    Raises:
        UserError: one of them cannot be written, or `--logs-dir` holds other files than those of a backtest.
    """
    check_folder(settings.folders.MODELS_DIR, by_creating=True)
    if options.logs_dir is None:
        return
    folder = settings.folders.LOGS_DIR
    check_folder(folder, by_creating=True)
    if folder.exists() and any(folder.iterdir()) and not (folder / BACKTEST_MARKER).is_file():
        raise UserError(f"--logs-dir {folder}: holds other files than those of a backtest; name a new folder")


@dataclass(frozen=True)
class TradeFiles:
    """The folder of one backtest's trades.

    Its `backtest.json` says from before the first change that the backtest is not complete, and at the end that it is.
    """

    folder: Path
    market: MarketId
    sessions: Sequence[Session]
    records: TradeRecords

    @classmethod
    def begun(cls, settings: Settings, market: MarketId, sessions: Sequence[Session], console: Console) -> TradeFiles:
        """Mark the folder, and remove the trades of an earlier backtest there; the screen says how many files.

        Raises:
            OSError: the folder cannot be written.
        """
        folder = settings.folders.LOGS_DIR
        _mark(folder, market, sessions, complete=False)
        _remove_earlier(folder, console)
        return cls(folder, market, sessions, _records(settings, market))

    def complete(self, universe: Sequence[UniversePrices]) -> None:
        """Write the prices of the universe, and mark that every session is traded.

        Raises:
            OSError: the folder cannot be written.
        """
        write_universe(self.folder, universe)
        _mark(self.folder, self.market, self.sessions, complete=True)


def _mark(folder: Path, market: MarketId, sessions: Sequence[Session], *, complete: bool) -> None:
    mark_backtest(folder, market, sessions[0].date, sessions[-1].date, complete=complete)


def _remove_earlier(folder: Path, console: Console) -> None:
    (folder / UNIVERSE_FILE).unlink(missing_ok=True)
    earlier = sorted(folder.glob("trades_*.json"))
    for path in earlier:
        path.unlink()
    if earlier:
        console.print(
            f"{folder}: removed {len(earlier)} trade file{'s' * (len(earlier) > 1)} of an earlier backtest; name a "
            "new --logs-dir to keep them",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip


def _records(settings: Settings, market: MarketId) -> TradeRecords:
    from paper_exchange.account.engine import NAMESPACE  # imports the whole exchange

    account = uuid.uuid5(NAMESPACE, "account:paper")
    return TradeRecords(
        log=TradeLog(settings.folders.LOGS_DIR),
        exits=settings.exits,
        market=market.slug,
        order_id=lambda number: str(uuid.uuid5(account, f"order:{number}")),
        fills=PathFills(settings.training.SEED),
    )
