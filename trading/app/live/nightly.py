"""The model in service during a run: made at the start if there is none, and retrained every evening."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from trading.app.learn.retrain import model_in_service, model_store, retrain
from trading.base.errors import ModelError, UserError, as_started
from trading.base.market_folders import when_free
from trading.base.progress import Report, progress_bars
from trading.dataset.dataset import Dataset
from trading.dataset.upkeep.build import build
from trading.dataset.volume_profiles import session_bars
from trading.features.session_bars import SessionBars
from trading.learning.trades.trade_labels import TradeLabels
from trading.models.predictor import Predictor
from trading.models.serving import REMEDY
from trading.models.store import LoadedModel, ModelStore, stamp
from trading.models.trust import UntrustedError
from trading.rules.labels import LabelRules
from trading.schedule.scheduler import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from config import Settings
    from trading.app.live.signals import SignalHandler
    from trading.app.live.venues import OpenVenue
    from trading.base.calendar import MarketCalendar, Session
    from trading.execution.entries import Signal
    from trading.features.session_bars import Windows
    from trading.market.source import Source, Universe
    from trading.records.journal import Journal
    from trading.records.trade_log import TradeLog
    from trading.reports.console import Output


LOCK_SECONDS: Final = 15.0
"""Real time that each attempt of an evening on a simulated clock waits for a folder that another process has locked."""

T = TypeVar("T")


class NoModel:
    """Stands for the model until it is loaded: shares are protected before that, and nothing is bought."""

    def predict(self, windows: Windows, now: datetime) -> Sequence[Signal]:
        """No signals."""
        return ()


class NightlyLearning:
    """The data folder and the models of one run.

    Attributes:
        predictor: the model in service; `prepare` sets it first.
        universe: the stocks of the day once they are picked; the evening's dataset build fetches them.
        log: the trade log of the run; the evening notes in it which trades reached the label's target.
    """

    predictor: Predictor

    def __init__(
        self,
        venue: OpenVenue,
        settings: Settings,
        calendar: MarketCalendar,
        source: Source,
        console: Output,
        journal: Journal,
        signals: SignalHandler,
    ) -> None:
        self._venue = venue
        self._settings = settings
        self._calendar = calendar
        self._source = source
        self._console = console
        self._journal = journal
        self._signals = signals
        self.universe: Universe | None = None
        self._stocks: tuple[str, ...] | None = None
        self.log: TradeLog | None = None

    def prepare(self) -> None:
        """Load the newest valid model, or build the dataset and train one if there is none (in a replay: always).

        Raises:
            UserError: the dataset or the model cannot be made.
        """
        self.predictor = Predictor(self._newest_or_new(), self._settings.prediction)

    def _newest_or_new(self) -> LoadedModel:
        champion = None
        if not self._venue.is_replay:
            now, market = self._venue.clock.now(), self._venue.market
            try:
                return self._store().newest(now=now, market=market, warn=self._warn)
            except ModelError as error:
                self._console.say(f"{str(error).removesuffix(as_started(f'; {REMEDY}'))}: training one now")
            champion = model_in_service(self._settings, market, now)  # may have other features; the decision says so
        self._build()
        return self._train(champion, with_controls=False)  # the first session may be about to open

    def _store(self) -> ModelStore:
        return model_store(self._settings)

    def session_bars(self, session: Session, symbols: Sequence[str]) -> SessionBars:
        """An empty store for the bars of a session, with volume profiles if the features need them.

        Bars of the session before that `data/` lacks are fetched first, unless the market is open.  A stock without a
        profile gets no signal on that day, and the audit log says so.
        """
        folder, feature_set = self._settings.folders.DATA_DIR, self._settings.training.FEATURE_SET
        dataset = Dataset(folder, self._calendar)
        reason = "data/ has no bars of these stocks in the session before, so their usual volume is unknown"
        try:
            if feature_set != "document":
                lacking = dataset.missing(symbols, [self._calendar.preceding(session.date)])
                if lacking and self._venue.clock.now() < session.open:
                    self._build()
            bars = session_bars(dataset, session, symbols, feature_set)
        except (UserError, OSError) as error:
            bars, reason = SessionBars(session, symbols, {}), str(error)
        if without := bars.without_profile:
            self._journal.event("no_volume_profile", symbols=without, reason=reason, note="they get no signal today")
        return bars

    def retrain(self, session: Session) -> bool:
        """Fetch the missing bars, train a model, and put it into service if it is promoted.

        Returns:
            False if there is no new model, so that the scheduler calls again.

        Raises:
            Interrupted: the run is being stopped.
        """
        self.follow_choice()
        champion = self.predictor.model
        if champion.timestamp == stamp(self._venue.clock.now()):
            return True  # this evening's model: an earlier run was killed just after it published it
        try:
            self._when_free(self._build)
            self._settle(session)
            model = self._when_free(lambda: self._train(champion))
        except Interrupted:
            note = "a replay starts again" if self._venue.is_replay else "the next run makes up for it"
            self._journal.event("retrain_interrupted", session=str(session.date), note=note)
            raise
        except Exception as error:
            self._journal.event(
                "retrain_failed",
                session=str(session.date),
                reason=str(error) or type(error).__name__,
                stays_in_service=champion.timestamp,
            )
            if not isinstance(error, UserError | OSError):
                raise  # a defect: the scheduler logs the traceback
            return False
        if model.in_service:
            self.predictor = Predictor(model, self._settings.prediction)
        in_service = self.predictor.model
        self._journal.event("model_in_service", model=in_service.timestamp, kind=in_service.kind)
        return True

    def _when_free(self, step: Callable[[], T]) -> T:
        """Run a step that locks a folder; on a simulated clock, wait for the lock in real time.

        There the scheduler's retries follow each other at once, while the other process trains in real time.
        """
        seconds = LOCK_SECONDS if self._venue.clock.simulated else 0.0
        return when_free(step, seconds, lambda: self._signals.received is not None)

    def follow_choice(self) -> None:
        """Put the model into service that `ml_trainer.py --rollback` or `--use` chose during the run."""
        store = self._store()
        try:  # whatever is wrong with the files: the model in service was valid when it was loaded
            choice = store.choice(self._warn)
            if choice is None or choice.timestamp == self.predictor.model.timestamp:
                return
            model = store.newest(now=self._venue.clock.now(), market=self._venue.market, warn=self._warn)
        except UntrustedError as error:
            self._warn(f"{error}; the model in service stays")
            return
        except ModelError:
            return
        if model.timestamp == choice.timestamp:
            self.predictor = Predictor(model, self._settings.prediction)
            self._journal.event("model_in_service", model=model.timestamp, kind=model.kind, reason="chosen by hand")

    def _trainer_says(self, line: str) -> None:
        self._console.say(line)
        self._journal.event("trainer_says", text=line)

    def _warn(self, line: str) -> None:
        self._console.say(f"warning: {line}")
        self._journal.event("model_refused", reason=line)

    def _build(self) -> None:
        with progress_bars(self._console) as progress:
            report = build(
                self._source,
                self._settings.data,
                LabelRules.of(self._settings.exits),
                self._settings.training.FEATURE_SET,
                self._venue.clock.now(),
                self._calendar,
                self._settings.folders.DATA_DIR,
                universe=self.universe,
                progress=self._interruptible(progress),
            )
        self._stocks = report.stocks
        self._journal.event(
            "dataset_built",
            bars=report.fetched,
            left_out=report.left_out,
            without_bars=report.without_bars,
            rows=report.rows,
            stocks=report.symbols,
            sessions=len(report.sessions),
            first=str(report.sessions[0].date),
            last=str(report.sessions[-1].date),
            notes=report.notes,
        )

    def _settle(self, session: Session) -> None:
        """Let the new bars tell which trades of the last days reached the label's target first."""
        if self.log is None:
            return
        labels = TradeLabels(
            Dataset(self._settings.folders.DATA_DIR, self._calendar), LabelRules.of(self._settings.exits)
        )
        changed = labels.settle(self.log, session.date)
        self._journal.event("targets_settled", session=str(session.date), trades_changed=changed)

    def _train(self, champion: LoadedModel | None, *, with_controls: bool = True) -> LoadedModel:
        with progress_bars(self._console) as progress:
            model, decision = retrain(
                self._settings.folders.DATA_DIR,
                self._settings.folders.MODELS_DIR,
                self._settings,
                self._venue.clock.now(),
                champion=champion,
                progress=self._interruptible(lambda what, done, of: progress(f"training: {what}", done, of)),
                say=self._trainer_says,
                with_controls=with_controls,
                only=self._stocks if self._venue.is_replay else None,  # data/ may hold those of other replays
            )
        self._journal.event(
            "model_trained",
            model=model.timestamp,
            in_service=decision.in_service,
            reason=decision.reason,
            decision=model.metrics["decision"],
            past_trades=model.metrics["past_trades"],
            figures=model.metrics["figures"],
        )
        return model

    def _interruptible(self, progress: Report) -> Report:
        """`progress` that ends the retrain at its next step after a signal; the folders are left as after a kill."""

        def report(what: str, done: int, total: int) -> None:
            if self._signals.received is not None:
                raise Interrupted
            progress(what, done, total)

        return report
