"""The folder of models: four files per model, published together or not at all, checked before unpickling.

`model_<kind>_TIMESTAMP.pkl`, `scaler_TIMESTAMP.pkl`, `features_TIMESTAMP.pkl` and `metrics_TIMESTAMP.json`; TIMESTAMP
is `YYYYmmdd_HHMMSS` in New York time.  The metrics name the other three files with their sizes and checksums and are
renamed into place last: that rename is the commit.  Files that no metrics name are leftovers of a crash; they are
ignored, and removed by the next publication.

A pickle runs code when it is loaded.  So files are read only if nobody else can change them (`trading.models.trust`),
only with the checksums of their metrics, and only under the library versions that made them.  If others can change one
file, no model is used: they may have changed it already.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import stat
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from trading.base.clock import NEW_YORK
from trading.base.errors import ModelError
from trading.base.files import replacing, sync_folder, why_unusable
from trading.base.market_folders import MarketId
from trading.features.sets import name_of
from trading.models.checks import check_versions, market_difference, market_remedy
from trading.models.choice import NAME as CHOICE_FILE
from trading.models.choice import Choice, choice_bytes, read_choice, serving_order
from trading.models.loaded import CheckedModel
from trading.models.loaded import LoadedModel as LoadedModel
from trading.models.metrics_file import PARTS, FileEntry, ModelMetrics, checked_metrics, metrics_of
from trading.models.serving import Warn, first_usable
from trading.models.trust import OTHERS_MAY_WRITE, refuse_untrusted
from trading.rules.labels import question_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from config import FeatureSet
    from trading.learning.train import TrainedModel

MOST_METRICS_BYTES = 50_000_000
"""Bytes of a metrics file; one with all figures has some 100,000."""

_METRICS = re.compile(r"^metrics_(\d{8}_\d{6})\.json$")
_OURS = re.compile(
    r"^\.?(model_[a-z_]+|scaler|features|metrics)_\d{8}_\d{6}\.(pkl|json)(\.[\d-]+\.tmp)?$"
    r"|^\.in_service\.json\.[\d-]+\.tmp$"
)


def stamp(now: datetime) -> str:
    """The TIMESTAMP of an instant, in New York time.

    Raises:
        ValueError: `now` has no time zone.
    """
    if now.tzinfo is None:
        raise ValueError(f"now={now!r}: an instant needs a time zone")
    return now.astimezone(NEW_YORK).strftime("%Y%m%d_%H%M%S")


class ModelStore:
    """The models of one folder.  One writer at a time: hold `trading.base.market_folders.lock(folder, "trainer")` to
    publish.

    Args:
        folder: `models/`.
        feature_set: models trained on other features are refused; None: none is refused for that.
        question: models whose label asks something else (`question_of`) are refused; None: none is refused for that.
    """

    def __init__(
        self, folder: Path, feature_set: FeatureSet | None = None, question: Mapping[str, object] | None = None
    ) -> None:
        self.folder = folder
        self.feature_set = feature_set
        self.question = question

    def prepare(self) -> None:
        """Make the folder and check that models can be published in it; call this before a training, not after it.

        Write access for other users is removed from a folder without models (a umask of 002 leaves new folders open to
        the group).

        Raises:
            UntrustedError: it holds models, and others may change it or them; or they may replace the folder.
            OSError: it cannot be made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        mode = stat.S_IMODE(self.folder.stat().st_mode)
        if mode & OTHERS_MAY_WRITE and not self._files_to_trust():
            with contextlib.suppress(PermissionError):  # it belongs to another user: refused below
                os.chmod(self.folder, mode & ~OTHERS_MAY_WRITE)
        refuse_untrusted(self.folder)
        self.check_trust()

    def check_place(self) -> None:
        """Check what `prepare` checks, and change nothing: call this before the first download of a run.

        Raises:
            UntrustedError: `prepare` would refuse the folder, or `check_trust` a model.
        """
        self.check_trust()
        places = [self.folder]
        if self.folder.is_dir() and self.folder.stat().st_uid == os.geteuid() and not self._files_to_trust():
            # `prepare` corrects the mode of the folder itself, but not of those on the way to it
            places = [place.with_name(f".{place.name}.new") for place in (self.folder, self.folder.resolve())]
        for place in places:
            refuse_untrusted(place)

    def check_trust(self) -> None:
        """Check that nobody else may change a model, or the folder of one; call this before anything is loaded.

        Raises:
            UntrustedError: others may.
        """
        for path in self._files_to_trust():
            refuse_untrusted(self.folder)
            refuse_untrusted(path)

    def _files_to_trust(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        found = (path for path in self.folder.iterdir() if path.suffix != ".tmp")
        return sorted(path for path in found if path.name == CHOICE_FILE or _OURS.match(path.name))

    def publish(self, trained: TrainedModel, *, now: datetime, market: MarketId) -> LoadedModel:
        """Write the four files of a model, durably, and load them back through every check.

        A crash at any instant leaves either this model complete or the earlier ones.  A model of the same second (in a
        repeated replay) is removed first, then replaced.

        Raises:
            UntrustedError: others may change the folder or a model in it.
            ModelError: what was written cannot be read back.
            OSError: the disk is full or the folder cannot be written; nothing is published.
        """
        self.prepare()
        at = stamp(now)
        metrics_path = self.folder / f"metrics_{at}.json"
        if metrics_path.exists():
            metrics_path.unlink()
            sync_folder(self.folder)  # otherwise a crash could restore it beside files of the new model
        self._remove_leftovers()
        names = {
            "model": f"model_{trained.kind}_{at}.pkl",
            "scaler": f"scaler_{at}.pkl",
            "features": f"features_{at}.pkl",
        }
        values = {"model": trained.model, "scaler": trained.scaler, "features": trained.features}
        files = {part: self._write_part(names[part], values[part]) for part in PARTS}
        metrics = metrics_of(trained, at, now, market, files)
        content = orjson.dumps(metrics, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        if trained.decision.in_service:
            self._end_choice(at, lambda: self._write(metrics_path.name, content))
        else:
            self._write(metrics_path.name, content)
        return self.load(at)

    def _end_choice(self, at: str, commit: Callable[[], None]) -> None:
        """Commit a promoted model and end an earlier choice; a kill at any instant leaves one or the other in force.

        A model with a TIMESTAMP after the choice takes precedence over it, so it is committed first.  In a replay of
        earlier sessions it has none, so the choice is removed first.
        """
        path = self.folder / CHOICE_FILE
        choice = self.choice(lambda line: None)
        if choice is None or at > choice.newest:
            commit()
        if path.exists():
            path.unlink()
            sync_folder(self.folder)
        if choice is not None and at <= choice.newest:
            commit()

    def choose(self, choice: Choice) -> None:
        """Put the model that `choice` names into service, durably, until a model is promoted after it.

        Raises:
            OSError: it cannot be written; the model in service stays.
        """
        self._write(CHOICE_FILE, choice_bytes(choice))

    def choice(self, warn: Warn) -> Choice | None:
        """The choice of a person; None if there is none, or if it cannot be read (`warn` gets a line).

        Raises:
            UntrustedError: others may change it.
        """
        try:
            return read_choice(self.folder)
        except ModelError as error:
            warn(f"{error}; ignored, the newest promoted model serves")
            return None

    def remove(self, at: str) -> None:
        """Remove a published model, its metrics first, so that a kill leaves no incomplete model.

        Raises:
            OSError: the folder cannot be written.
        """
        names = [path.name for path in self.folder.glob(f"*_{at}.pkl") if _OURS.match(path.name)]
        (self.folder / f"metrics_{at}.json").unlink(missing_ok=True)
        sync_folder(self.folder)
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def _write_part(self, name: str, value: Any) -> FileEntry:
        import joblib

        buffer = io.BytesIO()
        joblib.dump(value, buffer)
        content = buffer.getvalue()
        self._write(name, content)
        return {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def _write(self, name: str, content: bytes) -> None:
        with replacing(self.folder / name) as file:
            os.fchmod(file.fileno(), 0o644)  # whatever the umask: nobody else may write it
            file.write(content)

    def _remove_leftovers(self) -> None:
        """Remove what a crash left: files with names of ours that no metrics name, and temporary files."""
        kept = {f"metrics_{at}.json" for at in self.timestamps()}
        for at in self.timestamps():
            try:
                kept |= {entry["name"] for entry in self.metrics(at)["files"].values()}
            except ModelError:
                kept |= {path.name for path in self.folder.glob(f"*_{at}.pkl")}  # damaged: kept as evidence
        for path in self.folder.iterdir():
            if _OURS.match(path.name) and path.name not in kept:
                path.unlink()

    def timestamps(self) -> list[str]:
        """TIMESTAMPs of all published models, newest first."""
        if not self.folder.is_dir():
            return []
        found = (_METRICS.match(path.name) for path in self.folder.iterdir())
        return sorted((match.group(1) for match in found if match), reverse=True)

    def newest(
        self,
        *,
        now: datetime | None = None,
        market: MarketId | None = None,
        in_service_only: bool = True,
        warn: Warn = lambda line: None,
    ) -> LoadedModel:
        """As `newest_checked`, with models that cannot be opened refused too."""
        found = self.newest_checked(now=now, market=market, in_service_only=in_service_only, warn=warn, opens=True)
        return found.opened

    def newest_checked(
        self,
        *,
        now: datetime | None = None,
        market: MarketId | None = None,
        in_service_only: bool = True,
        warn: Warn = lambda line: None,
        opens: bool = False,
    ) -> CheckedModel:
        """The model in service: the newest promoted one that passes every check, or the one that a person chose.

        A choice (`in_service.json`) holds until a model is promoted after it; see `trading.models.choice`.

        Args:
            now: models published after this instant are ignored (a replay must not see its future).
            market: models of another market are refused.
            in_service_only: ignore models that were not promoted; otherwise the newest of all, whatever was chosen.
            warn: gets one line for every model that is refused.
            opens: refuse a model that cannot be opened.

        Raises:
            UntrustedError: others may change the folder or a model in it; nothing was loaded.
            ModelError: there is none.
        """
        self.check_trust()
        last = stamp(now) if now is not None else "9"
        choice = self.choice(warn) if in_service_only else None
        known = [at for at in self.timestamps() if at <= last]
        chosen = None if choice is None else choice.timestamp
        order = serving_order(known, choice)
        return first_usable(self, order, chosen, market, in_service_only=in_service_only, warn=warn, opens=opens)

    def other_market(self, at: str, market: MarketId | None) -> str | None:
        """How the market that a model was trained on differs from `market`; None if it does not."""
        record = self.metrics(at)["market"]
        own = MarketId(record["slug"], str(record.get("description", record["slug"])))
        return None if market is None or own.slug == market.slug else market_difference(own, market)

    def metrics(self, at: str) -> ModelMetrics:
        """All of `metrics_TIMESTAMP.json`.

        Raises:
            ModelError: it is missing or damaged.
            UntrustedError: others may change it.
        """
        path = self.folder / f"metrics_{at}.json"
        refuse_untrusted(path)
        try:
            if damage := why_unusable(path, MOST_METRICS_BYTES):
                raise ModelError(f"{path}: cannot be used: {damage}")
            return checked_metrics(orjson.loads(path.read_bytes()), at)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{path}: damaged ({type(error).__name__}: {error})") from None

    def load(self, at: str, market: MarketId | None = None) -> LoadedModel:
        """The model of a TIMESTAMP, through every check; raises as `checked`."""
        return self.checked(at, market).opened

    def checked(self, at: str, market: MarketId | None = None) -> CheckedModel:
        """The model of a TIMESTAMP, through every check of its bytes.

        Raises:
            UntrustedError: others may change the folder or one of its files.
            ModelError: there is none, it is damaged, or it is of another market than `market`.
        """
        refuse_untrusted(self.folder)
        metrics = self.metrics(at)
        path = self.folder / f"metrics_{at}.json"
        check_versions(path, metrics["versions"])
        if other := self.other_market(at, market):
            raise ModelError(f"{path}: {other}; {market_remedy(self.folder, market)}")
        feature_set = name_of(metrics["features"])
        if feature_set is None:
            raise ModelError(f"{path}: its features are not those of this version of the system")
        if other := self.other_purpose(at):
            raise ModelError(other)
        # The bytes that are unpickled are those that were checked, and all three are checked before any is unpickled.
        contents = {part: self._checked_bytes(metrics["files"][part]) for part in PARTS}
        return CheckedModel(self.folder, at, metrics, contents)

    def other_purpose(self, at: str) -> str | None:
        """Why a model cannot serve with FEATURE_SET and LABEL; None if it can, or if its features are unknown."""
        metrics = self.metrics(at)
        found = name_of(metrics["features"])
        if self.feature_set is not None and found not in (None, self.feature_set):
            return f"{self.folder}: {at} was trained on FEATURE_SET={found}, the setting is {self.feature_set}"
        if self.question is None or (own := question_of(metrics["settings"])) == self.question:
            return None
        said, asked = (", ".join(f"{name}={value}" for name, value in one.items()) for one in (own, self.question))
        return f"{self.folder}: {at} was trained for {said}, the settings are {asked}"

    def _checked_bytes(self, entry: FileEntry) -> bytes:
        path = self.folder / entry["name"]
        if not path.is_file():
            raise ModelError(f"{path}: missing")
        refuse_untrusted(path)
        same_size = path.stat().st_size == entry["bytes"]  # a huge file is not read
        content = path.read_bytes() if same_size else b""
        if not same_size or hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise ModelError(f"{path}: damaged: not the file that its metrics describe")
        return content
