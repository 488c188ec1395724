"""Which model serves, by hand: list them, go back to the one before, take any other; and what is swept away.

Definitions:

- *In service* is the newest model that was promoted, unless a person has chosen another one since
  (`trading.models.choice`).  A choice ends when a model is promoted after it.
- *The one before* is, after `--use`, the model that served until then; else the one that the serving model had to
  stand up to when it was promoted (`decision.champion`), and where that is gone or was none, the newest promoted
  model that is older.  So `--rollback`, given again, goes back further.
"""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Final, Literal

import orjson

from trading.base.errors import ModelError, UserError
from trading.base.files import write_json
from trading.models.choice import Choice
from trading.models.store import LoadedModel, ModelStore, Warn, stamp
from trading.records.journal import new_york_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from rich.console import Console

    from trading.base.market_folders import MarketId

AT_WORK: Final = "training.json"
"""In the folder of models while one is trained: what a killed training leaves behind says that it was killed."""


def _silent(line: str) -> None:
    """No line."""


def serving(
    store: ModelStore, market: MarketId | None, now: datetime | None = None, warn: Warn = _silent
) -> LoadedModel | None:
    """The model in service; None where there is none that can be used."""
    try:
        return store.newest(now=now, market=market, warn=warn)
    except ModelError:
        return None


def _predecessors(store: ModelStore, timestamp: str) -> Iterator[str]:
    """What `--rollback` may return to from the model `timestamp`, the nearest first; not yet loaded."""
    seen = {timestamp}
    choice = store.choice(_silent)
    if choice is not None and choice.timestamp == timestamp and choice.command == "use" and choice.before:
        seen.add(choice.before)
        yield choice.before
    known = store.timestamps()
    if timestamp in known:
        champion = _champion(store, timestamp)
        if champion in known and champion not in seen:
            seen.add(champion)
            yield champion
    for at in known:
        if at < timestamp and at not in seen and _promoted(store, at):
            yield at


def _champion(store: ModelStore, at: str) -> str:
    try:
        return str(store.metrics(at)["decision"].get("champion"))
    except ModelError:
        return ""


def _promoted(store: ModelStore, at: str) -> bool:
    try:
        return bool(store.metrics(at)["decision"]["in_service"])
    except ModelError:
        return False


def _before(store: ModelStore, timestamp: str, market: MarketId | None, warn: Warn) -> LoadedModel | None:
    """The nearest predecessor that passes every check."""
    for at in _predecessors(store, timestamp):
        try:
            return store.load(at, market)
        except ModelError as error:
            warn(f"{error}; passed over")
    return None


def rollback(store: ModelStore, market: MarketId | None, now: datetime, why: str, warn: Warn = _silent) -> str:
    """Put the model that served before into service; returns what was done, in one line.

    Hold the trainer's lock (`trading.base.market_folders.lock`).

    Raises:
        ModelError: no model is in service, or there is none before it that passes every check.
        OSError: the choice cannot be written; nothing has changed then.
    """
    current = serving(store, market, warn=warn)
    if current is None:
        raise ModelError(f"{store.folder}: no model is in service; run python ml_trainer.py")
    earlier = _before(store, current.timestamp, market, warn)
    if earlier is None:
        raise ModelError(
            f"{store.folder}: there is no good model before {current.timestamp}; see python ml_trainer.py --list"
        )
    return _choose(store, earlier, current.timestamp, "rollback", now, why)


def use(
    store: ModelStore, timestamp: str, market: MarketId | None, now: datetime, why: str, warn: Warn = _silent
) -> str:
    """Put the model `timestamp` into service, promoted or not; returns what was done, in one line.

    Raises:
        ModelError: there is no such model, or it does not pass every check.
        OSError: the choice cannot be written; nothing has changed then.
    """
    if timestamp not in store.timestamps():
        raise ModelError(
            f"--use {timestamp}: no such model in {store.folder}; python ml_trainer.py --list shows what there is"
        )
    chosen = store.load(timestamp, market)
    current = serving(store, market, warn=warn)
    if current is not None and current.timestamp == timestamp:
        return f"{timestamp} is in service already; nothing was changed"
    return _choose(store, chosen, None if current is None else current.timestamp, "use", now, why)


def _choose(
    store: ModelStore,
    chosen: LoadedModel,
    before: str | None,
    command: Literal["use", "rollback"],
    now: datetime,
    why: str,
) -> str:
    who = _user()
    newest = store.timestamps()[0]
    store.choose(
        Choice(
            chosen.timestamp,
            before,
            newest,
            command,
            new_york_time(now.replace(microsecond=0)),
            who,
            why or f"--{command}",
        )
    )
    back = f"; python ml_trainer.py --use {before} puts {before} back" if before else ""
    return (
        f"in service: {chosen.timestamp} ({chosen.kind}, trained through {chosen.trained_through}), until a new model "
        f"is promoted{back}"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "unknown"


def prune(store: ModelStore, keep: int, now: datetime, market: MarketId | None, published: str) -> list[str]:
    """Remove the oldest models as of `now`, so that `keep` are left; returns the TIMESTAMPs that went.

    Never removed: the model in service and the one that `rollback` would return to, both as of `now` and as of the
    end of time (a replay lives in the past of the others); the one just `published`; what is later than `now`; and
    what is damaged, which is evidence.

    Raises:
        OSError: the folder cannot be written.
    """
    kept = {published}
    for instant in (now, None):
        current = serving(store, market, instant)
        if current is not None:
            kept.add(current.timestamp)
            earlier = _before(store, current.timestamp, market, _silent)
            if earlier is not None:
                kept.add(earlier.timestamp)
    choice = store.choice(_silent)
    if choice is not None:
        kept |= {choice.timestamp, choice.before or choice.timestamp}
    good = [at for at in store.timestamps() if at <= stamp(now) and _readable(store, at)]
    gone = [at for at in good[keep:] if at not in kept]
    for at in gone:
        store.remove(at)
    return gone


def _readable(store: ModelStore, at: str) -> bool:
    try:
        store.metrics(at)
    except ModelError:
        return False
    return True


def begin_training(folder: Path, now: datetime) -> None:
    """Write down that a training is at work; `end_training` removes it, unless the process dies."""
    write_json(folder / AT_WORK, {"begun": new_york_time(now)})


def end_training(folder: Path) -> None:
    """The training is over, well or not, and has said so itself."""
    (folder / AT_WORK).unlink(missing_ok=True)


def cut_short(store: ModelStore, market: MarketId | None) -> str | None:
    """One line where a training was killed before it ended; hold the trainer's lock, so that none is at work."""
    path = store.folder / AT_WORK
    if not path.exists():
        return None
    try:
        begun = orjson.loads(path.read_bytes())["begun"]
    except (ValueError, KeyError, TypeError):
        begun = "an unknown time"
    current = serving(store, market)
    stays = "no model was in service" if current is None else f"{current.timestamp} stayed in service"
    return f"the training begun at {begun} was cut short before it published a model or could say so: {stays}"


def list_models(store: ModelStore, market: MarketId | None, console: Console, warn: Warn = _silent) -> None:
    """Print every model with its figures, the newest first, and which is in service and why.

    Raises:
        UserError: there is no model.
    """
    from rich.table import Table

    known = store.timestamps()
    if not known:
        raise UserError(f"{store.folder}: there is no model in it; run python ml_trainer.py")
    current = serving(store, market, warn=warn)
    earlier = None if current is None else _before(store, current.timestamp, market, _silent)
    table = Table(box=None, pad_edge=False)
    for name in ("", "model", "kind", "through", "AUC", "log loss", "signals", "won", "each"):
        table.add_column(name, justify="left" if name in ("", "model", "kind", "through") else "right", no_wrap=True)
    decisions = []
    for at in known:
        try:
            metrics = store.metrics(at)
        except ModelError as error:
            warn(str(error))
            continue
        mark = "*" if current is not None and at == current.timestamp else ""
        mark = "<" if earlier is not None and at == earlier.timestamp else mark
        kind = KINDS.get(metrics["kind"], metrics["kind"])
        if metrics.get("feature_set", "document") != "document":
            kind += f" {metrics['feature_set']}"
        table.add_row(mark, at, kind, metrics["trained_through"], *_cells(metrics))
        verdict = "promoted" if metrics["decision"]["in_service"] else "not promoted"
        decisions.append(f"{at}  {verdict}: {metrics['decision']['reason']}")
    console.print(table)
    notes = (
        "Figures are of the test sessions; each: mean outcome per signal after cost, % of the price.",
        *_standing(store, current, earlier),
        "When they were new:",
        *decisions,
    )
    for line in notes:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


KINDS: Final = {"random_forest": "forest", "gradient_boosting": "boosting"}


def _cells(metrics: dict) -> list[str]:
    figures = metrics["figures"]
    minimum = figures.get("at_min_confidence") or {}

    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return [
        shown(figures["roc_auc"], ".4f"),
        shown(figures["log_loss"], ".4f"),
        shown(minimum.get("signals"), ",d"),
        shown(minimum.get("precision"), ".1%"),
        shown(minimum.get("mean_outcome_after_cost_pct"), "+.2f"),
    ]


def _standing(store: ModelStore, current: LoadedModel | None, earlier: LoadedModel | None) -> Iterator[str]:
    if current is None:
        yield "No model is in service: none of them can be used."
        return
    choice = store.choice(_silent)
    if choice is not None and choice.timestamp == current.timestamp:
        yield (
            f"* in service: {current.timestamp}, chosen on {choice.time} by {choice.who} ({choice.why}), until a new "
            "model is promoted"
        )
    else:
        yield f"* in service: {current.timestamp}, the newest that was promoted"
    if earlier is None:
        yield "There is no good model before it to roll back to."
    else:
        yield f"< --rollback returns to {earlier.timestamp}"
