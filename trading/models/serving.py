"""The search for the model that serves: the first one, in their order of precedence, that passes every check."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trading.base.errors import ModelError
from trading.models.checks import market_remedy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trading.base.market_folders import MarketId
    from trading.models.loaded import CheckedModel
    from trading.models.store import ModelStore

REMEDY = "run python ml_trainer.py"

Warn = Callable[[str], None]


def first_usable(
    store: ModelStore,
    order: Iterable[str],
    chosen: str | None,
    market: MarketId | None,
    *,
    in_service_only: bool,
    warn: Warn,
    opens: bool,
) -> CheckedModel:
    """The first model that passes every check, as `ModelStore.newest_checked` describes it.

    Args:
        order: TIMESTAMPs in the order of precedence.
        chosen: the TIMESTAMP that a person chose, which serves although it was not promoted.

    Raises:
        UntrustedError: others may change the folder or a model in it; nothing was loaded.
        ModelError: there is none.
    """
    others = of_features = 0
    refused: list[str] = []
    foreign: list[str] = []
    for at in order:
        try:
            if in_service_only and at != chosen and not store.metrics(at)["decision"]["in_service"]:
                continue
            if other := store.other_purpose(at):
                others += 1
                of_features += "FEATURE_SET" in other
                if others == 1:  # one warning is enough
                    warn(f"{other}; refused, an older model is used if there is one")
                continue
            if other := store.other_market(at, market):
                foreign.append(other)
                if len(foreign) == 1:
                    warn(f"{store.folder}: {at} was {other}; refused, an older model is used if there is one")
                continue
            found = store.checked(at)
            if opens:
                _ = found.opened
            return found
        except ModelError as error:
            refused.append(str(error).removeprefix(f"{store.folder}/"))
            warn(f"{error}; refused, an older model is used if there is one")
    if foreign and not refused and not others:
        remedy = market_remedy(store.folder, market)
        raise ModelError(f"{store.folder}: its {len(foreign)} model(s) were {foreign[0]}; {remedy}")
    why = _why_none(store, [*refused, *foreign], others, of_features)
    raise ModelError(f"{store.folder}: {why}; {'correct that, or ' if refused else ''}{REMEDY}")


def _why_none(store: ModelStore, refused: list[str], others: int, of_features: int) -> str:
    """Why no model serves: the first reason of those refused, or that all have other features or another label."""
    if others and not refused:
        what = f"on other features than FEATURE_SET={store.feature_set}"
        return f"its {others} model(s) were trained {what if of_features == others else 'for another LABEL'}"
    if not refused:
        return "there is no model in it"
    return f"none of its {len(refused) + others} model(s) can be used ({refused[0]})"
