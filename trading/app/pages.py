"""What the commands know for the pages that they write: which model serves, and which folders belong together."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from trading.base.errors import UserError
from trading.base.market_folders import BACKTEST_MARKER, backtest_market_of, market_of
from trading.models.store import ModelStore
from trading.reports.look import INDEX
from trading.reports.look.models_index import write_models_index

if TYPE_CHECKING:
    from pathlib import Path


def serving_in(models: Path) -> str | None:
    """TIMESTAMP of the model in service; None if no model can be used.  It is checked, and not opened: that is slow."""
    with suppress(UserError):
        return ModelStore(models).newest_checked(market=market_of(models)).timestamp
    return None


def logs_of(models: Path, logs: Path) -> Path | None:
    """The folder of logs, if both folders exist and belong to one market; never the trades of a backtest."""
    if (logs / BACKTEST_MARKER).exists():
        return None
    return logs if _market(models) is not None and _market(models) == _market(logs) else None


def models_of(models: Path, logs: Path) -> Path | None:
    """The folder of models, if both folders exist and belong to one market; also for the trades of a backtest.

    If `models` belongs to another market, as the default folder does for logs elsewhere, the folder of its name beside
    the logs is looked at: a page keeps its link to it whether or not the folder is named again.
    """
    owner = _market_of_logs(logs)
    places = (models, logs.resolve().parent / models.name)
    return next((one for one in places if owner is not None and _market(one) == owner), None)


def _market_of_logs(logs: Path) -> str | None:
    if not (logs / BACKTEST_MARKER).exists():
        return _market(logs)
    found = backtest_market_of(logs)
    return None if found is None else found.slug


def _market(folder: Path) -> str | None:
    """The market's slug of a folder; None if there is none, or its marker is damaged."""
    with suppress(UserError):
        owner = market_of(folder) if folder.is_dir() else None
        return None if owner is None else owner.slug
    return None


def refresh_models_index(models: Path, logs: Path) -> None:
    """Write the index of the models again, so that it links to the logs; only one that is there already.

    A folder that cannot be written keeps its index.

    Args:
        models: as in `models_of`.
    """
    found = models_of(models, logs)
    if found is not None and (found / INDEX).is_file() and logs_of(found, logs) is not None:
        with suppress(OSError):
            write_models_index(found, serving_in(found), logs)
