"""Whether the folders of data, models and logs are apart from each other, and none is taken for another."""

from __future__ import annotations

import contextlib
import itertools
import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

MARKS: Final = {
    "DATA_DIR": ("dataset.json", "universe_*.json", "bars"),
    "MODELS_DIR": ("model_*.pkl", "scaler_*.pkl", "features_*.pkl", "metrics_*.json", "in_service.json"),
    "LOGS_DIR": (
        "trades_*.json", "audit_*.jsonl", "predictions_*.jsonl", "predictions_*.jsonl.gz", "paper_exchange.sqlite",
        "heartbeat.json", "schedule.json", "instance.json",
    ),
}  # fmt: skip
"""Setting of a folder -> patterns of names that only this kind of folder holds."""


def check_folders(settings: Mapping[str, Path], sources: Mapping[str, str]) -> None:
    """Check that data, models and logs are apart and none is taken for another: each is renamed and pruned as a whole.

    Args:
        settings: setting -> folder; those without an entry in `MARKS` are not checked.
        sources: setting -> where its value is from, for the message.

    Raises:
        UserError: two folders overlap, or one holds files of another kind.
    """
    folders = {name: settings[name] for name in MARKS}
    if found := overlapping(folders):
        name, other, what = found
        source = sources.get(other) or sources.get(name, "settings")
        raise UserError(f"{source}: {what}; give each a folder of its own")
    if wrong := misplaced(folders):
        name, what = wrong
        raise UserError(f"{sources.get(name, 'settings')}: {what}: name another folder, or move that file away")


def overlapping(folders: Mapping[str, Path]) -> tuple[str, str, str] | None:
    """The first two folders that are one or lie in each other, links followed; None if all are apart.

    Args:
        folders: name -> folder.

    Returns:
        (name, other name, the two in words).
    """
    places = {name: Path(os.path.realpath(folder)) for name, folder in folders.items()}
    for (name, one), (other, two) in itertools.combinations(places.items(), 2):
        if one.is_relative_to(two) or two.is_relative_to(one):
            what = "are the same folder" if one == two else "lie one in the other"
            return name, other, f"{name}={one} and {other}={two} {what}"
    return None


def misplaced(folders: Mapping[str, Path]) -> tuple[str, str] | None:
    """The first folder that holds files of another kind of folder, as `LOGS_DIR=data` would; None if all are in place.

    `market.json` does not show that: data, models and logs of one market all have the same.

    Args:
        folders: "DATA_DIR", "MODELS_DIR", "LOGS_DIR", or some of them -> folder, which may be missing.

    Returns:
        (name, the folder and the file in words).
    """
    for name, folder in folders.items():
        kinds = [kind for kind in MARKS if kind != name]
        with contextlib.suppress(OSError):  # what is missing or cannot be read is refused where it is used
            for entry in sorted(os.listdir(folder)):
                for kind in kinds:
                    if any(fnmatchcase(entry, pattern) for pattern in MARKS[kind]):
                        return name, f"{name}={folder} holds {entry}, which belongs in a {kind}"
    return None
