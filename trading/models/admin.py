"""Administration of the models: roll back, choose one, remove old ones, detect a training that was killed.

Definitions:

- The model *in service* is the newest promoted one, unless a person has chosen another one since
  (`trading.models.choice`).  A choice ends when a model is promoted after it.
- The *previous* model is, after `--use`, the model that served until then; otherwise the one that the serving model
  was judged against when it was promoted (`decision.champion`), and if that is gone or there was none, the newest
  older promoted model.  So repeated `--rollback` goes back further each time.
"""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Final, Literal

import orjson

from trading.base.errors import ModelError, as_started
from trading.base.files import write_json
from trading.models.choice import Choice
from trading.models.serving import Warn
from trading.models.store import LoadedModel, ModelStore, stamp
from trading.records.journal import new_york_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from trading.base.market_folders import MarketId

RUNNING: Final = "training.json"
"""File in the folder of models while a training runs; a killed training leaves it behind."""


def _ignore(line: str) -> None:
    """A `Warn` that drops the line."""


def serving(
    store: ModelStore, market: MarketId | None, now: datetime | None = None, warn: Warn = _ignore
) -> LoadedModel | None:
    """The model in service; None if no model can be used.

    Raises:
        UntrustedError: others may change the models; nothing was loaded.
    """
    try:
        return store.newest(now=now, market=market, warn=warn)
    except ModelError:
        return None


def _predecessors(store: ModelStore, timestamp: str) -> Iterator[str]:
    """The models that `--rollback` may return to from the model `timestamp`, nearest first; not yet loaded."""
    seen = {timestamp}
    choice = store.choice(_ignore)
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


def previous(store: ModelStore, timestamp: str, market: MarketId | None, warn: Warn = _ignore) -> LoadedModel | None:
    """The previous model: the nearest predecessor that passes every check; None if there is none."""
    for at in _predecessors(store, timestamp):
        try:
            return store.load(at, market)
        except ModelError as error:
            warn(f"{error}; skipped")
    return None


def rollback(store: ModelStore, market: MarketId | None, now: datetime, why: str, warn: Warn = _ignore) -> str:
    """Put the previous model into service; returns one line that says what was done.

    The caller holds the trainer's lock (`trading.base.market_folders.lock`).

    Raises:
        UntrustedError: others may change the models; nothing was loaded.
        ModelError: no model is in service, or no previous model passes every check.
        OSError: the choice cannot be written; nothing has changed.
    """
    current = serving(store, market, warn=warn)
    if current is None:
        raise ModelError(f"{store.folder}: no model is in service; run python ml_trainer.py")
    earlier = previous(store, current.timestamp, market, warn)
    if earlier is None:
        raise ModelError(f"{store.folder}: no usable model before {current.timestamp}; see python ml_trainer.py --list")
    return _choose(store, earlier, current.timestamp, "rollback", now, why)


def use(
    store: ModelStore, timestamp: str, market: MarketId | None, now: datetime, why: str, warn: Warn = _ignore
) -> str:
    """Put the model `timestamp` into service, promoted or not; returns one line that says what was done.

    Raises:
        UntrustedError: others may change the models; nothing was loaded.
        ModelError: there is no such model, or it fails a check.
        OSError: the choice cannot be written; nothing has changed.
    """
    store.check_trust()
    if timestamp not in store.timestamps():
        raise ModelError(
            f"--use {timestamp}: no such model in {store.folder}; python ml_trainer.py --list shows what there is"
        )
    chosen = store.load(timestamp, market)
    current = serving(store, market, warn=warn)
    if current is not None and current.timestamp == timestamp:
        return f"{timestamp} is in service already; nothing changed"
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
    return as_started(
        f"in service: {chosen.timestamp} ({chosen.kind}, trained through {chosen.trained_through}), until a new model "
        f"is promoted{back}"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "unknown"


def prune(store: ModelStore, keep: int, now: datetime, market: MarketId | None, published: str) -> list[str]:
    """Remove the oldest models as of `now`, so that `keep` are left; returns the TIMESTAMPs of those removed.

    Never removed: the model in service and the previous one, both as of `now` and at present (a replay takes place in
    the past of other models); the model just `published`; models later than `now`; and damaged ones, as evidence.

    Raises:
        UntrustedError: others may change the models.
        OSError: the folder cannot be written.
    """
    kept = {published}
    for instant in (now, None):
        current = serving(store, market, instant)
        if current is not None:
            kept.add(current.timestamp)
            earlier = previous(store, current.timestamp, market, _ignore)
            if earlier is not None:
                kept.add(earlier.timestamp)
    choice = store.choice(_ignore)
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
    """Record that a training runs; `end_training` removes the record, unless the process is killed."""
    write_json(folder / RUNNING, {"begun": new_york_time(now)})


def end_training(folder: Path) -> None:
    """Remove the record of a running training, after it ended or failed."""
    (folder / RUNNING).unlink(missing_ok=True)


def killed_training(store: ModelStore, market: MarketId | None) -> str | None:
    """One line if a training was killed before it ended; the caller holds the trainer's lock, so none is running."""
    path = store.folder / RUNNING
    if not path.exists():
        return None
    try:
        begun = orjson.loads(path.read_bytes())["begun"]
    except (ValueError, KeyError, TypeError):
        begun = "an unknown time"
    current = serving(store, market)
    stays = "no model was in service" if current is None else f"{current.timestamp} stayed in service"
    return f"the training begun at {begun} was killed before it published a model: {stays}"
