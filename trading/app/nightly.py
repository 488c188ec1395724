"""What `live_trader.py` learns from: the dataset and the model at the start, and the retrain of every evening."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trading.app.retrain import model_in_service, retrain
from trading.base.errors import ModelError, UserError
from trading.base.progress import Report, progress_bars
from trading.dataset.build import build
from trading.dataset.dataset import Dataset
from trading.dataset.manifest import LabelRules
from trading.dataset.volume_profiles import session_bars
from trading.features.session_bars import SessionBars
from trading.models.predictor import Predictor
from trading.models.store import REMEDY, LoadedModel, ModelStore, stamp
from trading.schedule.scheduler import Interrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config import Settings
    from trading.app.signals import Stops
    from trading.app.worlds import World
    from trading.base.calendar import MarketCalendar, Session
    from trading.market.source import Source, Universe
    from trading.records.journal import Journal
    from trading.reports.console import Output


class Learning:
    """The data and the models of one world.

    Attributes:
        universe: the stocks of the day, once they are picked; the evening's data is built for them.
    """

    def __init__(
        self,
        world: World,
        settings: Settings,
        calendar: MarketCalendar,
        source: Source,
        console: Output,
        journal: Journal,
        stops: Stops,
    ) -> None:
        self._world = world
        self._settings = settings
        self._calendar = calendar
        self._source = source
        self._console = console
        self._journal = journal
        self._stops = stops
        self.universe: Universe | None = None

    def model(self) -> LoadedModel:
        """The newest good model; data and model are made first where there is none (in a replay: always).

        Raises:
            UserError: it cannot be made.
        """
        champion = None
        if not self._world.anew:
            now, market = self._world.clock.now(), self._world.market
            try:
                return self._store().newest(now=now, market=market, warn=self._warn)
            except ModelError as error:
                self._console.say(f"{str(error).removesuffix(f'; {REMEDY}')}: one is made now")
            champion = model_in_service(self._settings, market, now)  # of other features: the decision says so
        self._build()
        return self._train(champion)

    def _store(self) -> ModelStore:
        return ModelStore(self._settings.folders.MODELS_DIR, self._settings.training.FEATURE_SET)

    def session_bars(self, session: Session, symbols: Sequence[str]) -> SessionBars:
        """An empty store for the bars of a session, with volume profiles if the features need them.

        Missing bars of the session before are fetched first, unless the market is open.  A stock without a profile
        gets no signal on that day, and the audit log says so.
        """
        folder, feature_set = self._settings.folders.DATA_DIR, self._settings.training.FEATURE_SET
        dataset = Dataset(folder, self._calendar)
        reason = "data/ has no bars of these stocks in the session before, so their usual volume is unknown"
        try:
            if feature_set != "document":
                lacking = dataset.missing(symbols, [self._calendar.preceding(session.date)])
                if lacking and self._world.clock.now() < session.open:
                    self._build()
            bars = session_bars(dataset, session, symbols, feature_set)
        except (UserError, OSError) as error:
            bars, reason = SessionBars(session, symbols, {}), str(error)
        if without := bars.without_profile:
            self._journal.event("no_volume_profile", symbols=without, reason=reason, note="they get no signal today")
        return bars

    def retrain(self, trader: Any, session: Session) -> bool:
        """20:00: what is missing is downloaded, a model trained, and the better one serves.

        Returns:
            False if there is no new model, so that the scheduler calls again.

        Raises:
            Interrupted: the run is being stopped.
        """
        self.follow_choice(trader)
        champion = trader.predictor.model
        if champion.timestamp == stamp(self._world.clock.now()):
            return True  # this evening's: an earlier run was killed just after it had published it
        try:
            self._build()
            model = self._train(champion)
        except Interrupted:
            self._journal.event("retrain_interrupted", session=str(session.date))
            raise
        except Exception as error:
            self._journal.event(
                "retrain_failed",
                session=str(session.date),
                reason=str(error) or type(error).__name__,
                stays_in_service=champion.timestamp,
            )
            if not isinstance(error, UserError | OSError):
                raise  # a defect: the scheduler writes its traceback down
            return False
        if model.in_service:
            trader.predictor = Predictor(model, self._settings.prediction)
        self._journal.event(
            "model_in_service", model=trader.predictor.model.timestamp, kind=trader.predictor.model.kind
        )
        return True

    def follow_choice(self, trader: Any) -> None:
        """Let the model serve that `ml_trainer.py --rollback` or `--use` chose while this process ran."""
        store = self._store()
        choice = store.choice(self._warn)
        if choice is None or choice.timestamp == trader.predictor.model.timestamp:
            return
        try:
            model = store.newest(now=self._world.clock.now(), market=self._world.market, warn=self._warn)
        except ModelError:
            return  # the one that serves was good when it was loaded
        if model.timestamp == choice.timestamp:
            trader.predictor = Predictor(model, self._settings.prediction)
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
                self._world.clock.now(),
                self._calendar,
                self._settings.folders.DATA_DIR,
                universe=self.universe,
                progress=self._interruptible(progress),
            )
        self._journal.event(
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
        with progress_bars(self._console) as progress:
            model, decision = retrain(
                self._settings.folders.DATA_DIR,
                self._settings.folders.MODELS_DIR,
                self._settings,
                self._world.clock.now(),
                champion=champion,
                progress=self._interruptible(lambda what, done, of: progress(f"training: {what}", done, of)),
                say=self._trainer_says,
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
        """A signal ends a retrain at its next step; what is left behind is what a kill would leave."""

        def report(what: str, done: int, total: int) -> None:
            if self._stops.stop is not None:
                raise Interrupted
            progress(what, done, total)

        return report
