#!/usr/bin/env python3
"""Stage 5, the main job: trade every minute, be flat before the close, retrain every evening.

    python live_trader.py                          Alpaca paper where keys are set, else the embedded paper exchange
    python live_trader.py --bars DIR --start 2018-03-26 --sessions 5
                                                   replay recorded 1-minute bars, from the day given
    python live_trader.py --seed 7                 another generated market

Keys come from the environment or .env: APCA_API_KEY_ID and APCA_API_SECRET_KEY.  Only Alpaca paper or a loopback
address is ever contacted.  The embedded exchange runs in this process, on a simulated clock, as fast as it goes.  On
its generated market the account and the day go on where the last run ended; a run with --bars or --start is always
made anew.  Without data or a model, both are built first.  Ctrl-C ends it cleanly: stops and targets stay at the
exchange, and what is open is said.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from trading import cli
from trading.errors import BrokerError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from config import Settings
    from market_scheduler import MarketScheduler
    from startup import World
    from trading.journal import Journal
    from trading.model_store import LoadedModel
    from trading.sessions import MarketCalendar, Session
    from trading.sources import Source, Universe


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    from rich.console import Console

    from config import load_settings
    from startup import choose
    from trading.folders import claim, lock
    from trading.sessions import new_york_calendar

    env_file = {} if options.env_file is None else {"env_file": options.env_file}
    folders = {"DATA_DIR": options.data_dir, "MODELS_DIR": options.models_dir, "LOGS_DIR": options.logs_dir}
    settings = load_settings(**env_file, **folders, SEED=options.seed)
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    console = Console()
    calendar = new_york_calendar()
    held = lock(settings.LOGS_DIR, "trader")
    try:
        opening = choose(options, settings, calendar)
        for folder in (settings.DATA_DIR, settings.MODELS_DIR, settings.LOGS_DIR):
            if said := claim(folder, opening.market):
                console.print(said, highlight=False, markup=False, soft_wrap=True)
        world = opening.open()
        try:
            return Run(world, settings, calendar, console).go()
        finally:
            world.close()
    finally:
        held.release()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--broker",
        choices=("alpaca", "embedded"),
        help="where to trade (default: alpaca if keys are set, else embedded)",
    )
    parser.add_argument(
        "--bars", type=cli.folder, metavar="DIR", help="replay SYMBOL.csv[.gz] of this folder on the embedded exchange"
    )
    parser.add_argument(
        "--start", type=cli.day, metavar="D", help="first session to trade, as 2018-03-26 (embedded only)"
    )
    parser.add_argument(
        "--sessions", type=cli.positive, metavar="N", help="sessions to trade (default: 1; on Alpaca: no end)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the generated market and of the training (SEED)")
    cli.add_folders(parser, "data", "models", "logs")
    return parser.parse_args(arguments)


class Run:
    """One run of the main job in one world."""

    def __init__(self, world: World, settings: Settings, calendar: MarketCalendar, console: Console) -> None:
        from trading.broker import Broker
        from trading.journal import Journal
        from trading.source_alpaca import AlpacaSource
        from trading.trade_log import TradeLog
        from trading.view import View

        self.world = world
        self.settings = settings
        self.calendar = calendar
        self.console = console
        self.view = View(console, world.market.description)
        self.broker = Broker(world.clients)
        self.source: Source = AlpacaSource(world.clients, settings.DATA_FEED, world.market)
        self.log = TradeLog(settings.LOGS_DIR)
        self.journal: Journal = Journal(settings.LOGS_DIR, world.clock, self.view.event)
        self.since = world.clock.now()
        self.universe: Universe | None = None

    def go(self) -> int:
        """Prepare, trade, and say how it went; returns the exit code."""
        from trading.broker import Unclear

        console, world = self.console, self.world
        console.print(
            f"Trading on {world.market.description}; {world.said}", highlight=False, markup=False, soft_wrap=True
        )
        self.journal.event("started", market=world.market.description, settings=_public(self.settings))
        try:
            self.broker.account()  # wrong keys show here, before anything is built
        except Unclear as error:
            raise BrokerError(f"the broker does not answer: {error}; check the network and run again") from None
        model = self._model()
        trader = self._trader(model)
        trader.take_up()
        scheduler = self._trade(trader)
        self._farewell(trader)
        if scheduler.failure is not None:
            raise scheduler.failure
        if self.journal.lost:
            raise UserError(f"{self.journal.fault}; {self.journal.lost} lines are missing from it; free some space")
        if scheduler.failures:
            console.print(f"{scheduler.failures} callbacks failed: see callback_failed in the audit", highlight=False)
        return 1 if scheduler.failures else 0

    # Data and model

    def _model(self) -> LoadedModel:
        """The newest good model; data and model are made first where there is none (in a replay: always)."""
        from trading.errors import ModelError
        from trading.model_store import ModelStore

        if not self.world.anew:
            try:
                return ModelStore(self.settings.MODELS_DIR).newest(
                    now=self.world.clock.now(), market=self.world.market, warn=self._warn
                )
            except ModelError as error:
                self.console.print(f"{error}: building one now", highlight=False, markup=False, soft_wrap=True)
        self._build()
        model = self._train(champion=None)
        # The evening is over: the scheduler begins after it.
        self.world.clock.sleep_until(self.world.clock.now() + timedelta(minutes=1))
        return model

    def _warn(self, line: str) -> None:
        self.console.print(f"warning: {line}", highlight=False, markup=False, soft_wrap=True)
        self.journal.event("model_refused", reason=line)

    def _build(self) -> None:
        from build_dataset import build
        from trading.progress import progress_bars

        now, folder = self.world.clock.now(), self.settings.DATA_DIR
        with progress_bars(self.console) as progress:
            report = build(
                self.source, self.settings, now, self.calendar, folder, universe=self.universe, progress=progress
            )
        self.journal.event(
            "dataset_built",
            bars=report.fetched,
            left_out=report.left_out,
            nothing=report.nothing,
            rows=report.rows,
            stocks=report.symbols,
            sessions=len(report.sessions),
            first=str(report.sessions[0].date),
            last=str(report.sessions[-1].date),
            notes=report.notes,
        )

    def _train(self, champion: LoadedModel | None) -> LoadedModel:
        from ml_trainer import retrain
        from trading.progress import progress_bars

        with progress_bars(self.console) as progress:
            model, decision = retrain(
                self.settings.DATA_DIR,
                self.settings.MODELS_DIR,
                self.settings,
                self.world.clock.now(),
                champion=champion,
                progress=lambda what, done, of: progress(f"training: {what}", done, of),
            )
        self.journal.event(
            "model_trained",
            model=model.timestamp,
            in_service=decision.in_service,
            reason=decision.reason,
            figures=model.metrics["figures"],
        )
        return model

    # Trading

    def _trader(self, model: LoadedModel) -> Any:
        from ml_predictor import Predictor, fetch
        from trading.entries import EntryPolicy
        from trading.exits import ExitRules
        from trading.risk import Sizing, document_rules
        from trading.trader import Trader

        s = self.settings
        sizing = Sizing(s.RISK_PER_TRADE, s.MAX_POSITION_SIZE)
        policy = EntryPolicy(
            rules=document_rules(s.MIN_CONFIDENCE, s.MIN_PRICE, s.MAX_PRICE, s.MAX_OPEN_POSITIONS, sizing),
            sizing=sizing,
            exits=ExitRules(s.STOP_LOSS_PCT, s.TAKE_PROFIT_PCT, s.FLATTEN_MINUTES_BEFORE_CLOSE, s.ROUND_TRIP_COST),
        )
        self.journal.event("model_in_service", model=model.timestamp, kind=model.kind)
        return Trader(
            self.broker,
            self.log,
            self.journal,
            self.world.clock,
            self.calendar,
            policy,
            market=self.world.market.slug,
            predictor=Predictor(model, s),
            fetch=partial(fetch, self.world.clients.data, feed=s.DATA_FEED),
            universe=self._universe,
        )

    def _universe(self, session: Session) -> list[str]:
        """The most active stocks in the price band, now; written down with their date."""
        from build_dataset import pick_universe, write_universe

        self.universe = pick_universe(self.source, self.settings, self.world.clock.now(), None)
        write_universe(self.settings.DATA_DIR, self.universe, self.source.feed)
        return self.universe.symbols

    def _retrain(self, trader: Any, session: Session) -> None:
        """20:00: what is missing is downloaded, a model trained, and the better one serves."""
        from ml_predictor import Predictor

        try:
            self._build()
            champion = trader.predictor.model
            model = self._train(champion)
        except (UserError, OSError) as error:
            self.journal.event("retrain_failed", session=str(session.date), reason=str(error))
            return
        if model.in_service:
            trader.predictor = Predictor(model, self.settings)
        self.journal.event("model_in_service", model=trader.predictor.model.timestamp, kind=trader.predictor.model.kind)

    def _trade(self, trader: Any) -> MarketScheduler:
        """Run the scheduler in its thread until it ends or a signal ends it."""
        from market_scheduler import Callbacks, MarketScheduler

        s = self.settings
        scheduler = MarketScheduler(
            self.world.clock,
            self.calendar,
            Callbacks(
                rebalance=trader.rebalance,
                tick=trader.tick,
                retrain=partial(self._retrain, trader),
                opened=trader.opened,
                closed=trader.closed,
            ),
            rebalance_time=s.REBALANCE_TIME,
            retrain_time=s.RETRAIN_TIME,
            tick_second=s.TICK_SECOND,
            marks=s.LOGS_DIR / "schedule.json",
            on_event=self._scheduled,
            stop_after=self.world.sessions,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: scheduler.stop())
        with self.view:
            thread = scheduler.start()
            while thread.is_alive():
                self.view.show(trader.snapshot, lambda: scheduler.next_event)
                thread.join(0.25)
        return scheduler

    def _scheduled(self, event: dict[str, Any]) -> None:
        fields = {key: value for key, value in event.items() if key not in ("event", "time")}
        self.journal.event(event["event"], **fields)

    def _farewell(self, trader: Any) -> None:
        """What is still open, and the summary."""
        from trading.broker import Unclear
        from trading.view import summary

        # After Ctrl-C too: a clock that was interrupted still tells the time.
        try:
            for trade, resting in trader.still_open():
                orders = ", ".join(f"{o.type} {o.side} {o.stop_price or o.limit_price}" for o in resting) or "NO ORDER"
                self.console.print(f"still open: {trade.qty} {trade.symbol} at ${trade.entry_price}; resting: {orders}")
        except Unclear as error:
            self.console.print(f"what is open could not be established: {error}", highlight=False)
        self.journal.event("stopped", open=[trade.symbol for trade in trader.positions.open])
        self.journal.close()
        folders = {name: getattr(self.settings, f"{name.upper()}_DIR") for name in ("logs", "data", "models")}
        warning = (
            "The market is generated: these figures prove that the plumbing works, and nothing about profit."
            if self.world.market.generated
            else ""
        )
        summary(self.log, self.since, self.console, folders, warning)


def _public(settings: Settings) -> dict[str, Any]:
    """The settings without the keys and without paths."""
    values = settings.model_dump(mode="json", exclude={"APCA_API_KEY_ID", "APCA_API_SECRET_KEY"})
    return {name: value for name, value in values.items() if not name.endswith("_DIR")}


if __name__ == "__main__":
    sys.exit(cli.run(main))
