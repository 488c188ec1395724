"""The items of the disk: the file of settings, the folders, the free space, the control files."""

from __future__ import annotations

import shutil
import stat
from functools import partial
from typing import TYPE_CHECKING, Final

from trading.app.inputs import check_folder
from trading.app.live.check_items.findings import Finding, Item, fail, ok, warn
from trading.base.errors import UserError
from trading.base.market_folders import LOGS_BY_HAND, DamagedMarker, MarketId, foreseen, is_locked
from trading.execution.control_files import ControlFiles
from trading.models.trust import distrust

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from config import Settings

ROOMY: Final = 2_000_000_000
"""Free bytes that data, models and logs of KEEP_DAYS fit in with the default settings."""


class Files:
    """The folders and files of a run.

    Attributes:
        logs: the logs folder of the venue's market, which a run may have to rename back first.
        models: the same of the models.
    """

    def __init__(self, settings: Settings, market: MarketId, env_file: Path) -> None:
        self._folders = settings.folders
        self._market = market
        self._env_file = env_file
        self.logs = self._place(settings.folders.LOGS_DIR, LOGS_BY_HAND)
        self.models = self._place(settings.folders.MODELS_DIR)

    def _place(self, folder: Path, adopted: str = "") -> Path:
        try:
            return foreseen(folder, self._market, adopted)[0]
        except UserError:  # its item says so
            return folder

    @property
    def is_running(self) -> bool:
        """Whether a trader uses the logs folder now."""
        return is_locked(self._folders.LOGS_DIR, "trader")

    def items(self) -> Iterator[Item]:
        """The items of the disk."""
        yield "settings file", self._settings_file
        yield "data", partial(self._folder, self._folders.DATA_DIR)
        yield "models", partial(self._folder, self._folders.MODELS_DIR)
        yield "logs", partial(self._folder, self._folders.LOGS_DIR, LOGS_BY_HAND)
        yield "disk", self._disk
        yield "control files", self._controls

    def _settings_file(self) -> Iterator[Finding]:
        path = self._env_file
        if not path.is_file():
            yield ok(f"{path}: none; python live_trader.py --setup writes one")
        elif path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield warn(f"{path}: other users may read it, and it may hold keys: chmod 600 it")
        else:
            yield ok(f"{path}: for this user alone")

    def _folder(self, folder: Path, adopted: str = "") -> Iterator[Finding]:
        check_folder(folder)
        try:
            place, renamed = foreseen(folder, self._market, adopted)
        except DamagedMarker as error:
            yield warn(f"{str(error).partition(';')[0]}: a run moves it, or the whole folder, aside and says so")
            return
        what = f"{folder} is writable"
        if reason := distrust(folder):
            yield (fail if folder == self._folders.MODELS_DIR else warn)(reason)
        if renamed is not None:
            also = f", and {place.name}/ back" if place.exists() else ""
            yield warn(f"{what}, but {renamed}{also}; name another folder to keep both in place")
        elif not place.exists():
            yield ok(f"{what}; it is made by the first run")
        else:
            yield ok(f"{what}; it is of {self._market.slug}")

    def _disk(self) -> Iterator[Finding]:
        folders = (self._folders.DATA_DIR, self._folders.MODELS_DIR, self._folders.LOGS_DIR)
        existing = [next(path for path in (one, *one.parents) if path.exists()) for one in folders]
        free, where = min((shutil.disk_usage(path).free, str(path)) for path in existing)
        text = f"{free / 1e9:.1f} GB free at {where}"
        if free >= ROOMY:
            yield ok(text)
        else:
            yield warn(f"{text}: data and logs of KEEP_DAYS take up to {ROOMY / 1e9:.0f} GB; free some space")

    def _controls(self) -> Iterator[Finding]:
        controls = ControlFiles(self._folders.CONTROL_DIR)
        paused = controls.paused()
        if controls.stop_requested:
            yield warn(f"{controls.folder / 'STOP'} is there: no order is sent until it is removed")
        if controls.flatten_requested and controls.stop_requested:
            yield warn(f"{controls.folder / 'FLATTEN'} is there too: without STOP a run sells everything and ends")
        elif controls.flatten_requested:
            yield warn(f"{controls.folder / 'FLATTEN'} is there: a run sells everything and ends; remove it to trade")
        if paused is not None:
            what = "mend it" if paused.fault else "remove a line of it to resume"
            words = paused.in_words(stopped=controls.stop_requested)
            yield warn(f"{controls.folder / 'PAUSED'}: {words}; {what}")
        if not controls.stop_requested and not controls.flatten_requested and paused is None:
            yield ok(f"no STOP, FLATTEN or PAUSED in {controls.folder}")
