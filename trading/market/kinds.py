"""The kind of a listed security, recognised from what `/v2/assets` gives: name, symbol and attributes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from config import AssetKind

_SHARES: Final = "shares"
"""What the first words of a name say of a common stock; no kind that can be excluded."""

_TITLES: Final[tuple[tuple[str, str], ...]] = (
    (_SHARES, r"common (?:stocks?|shares?|units?)|ordinary shares?|american deposit[ao]ry"),
    (
        _SHARES,
        r"units? (?:of beneficial|representing|of limited)|(?:depositary|partner(?:ship)?|trust|lp|l\.p\.) units?",
    ),
    ("warrants", r"warrants?|wts?"),
    ("rights", r"rights?(?=\s*$|\s*,|\s*\(|\s+(?:to|each|expiring)\b)"),
    ("units", r"units?"),
    ("preferreds", r"preferred (?:stocks?|shares?|units?|series)|pref(?:erence|erred)? shares?|pfd"),
    ("notes", r"notes? due|(?:senior|subordinated|junior)\b.{0,60}?\b(?:notes?|debentures?)|debentures?"),
)
"""Kind -> the words that name it.  Names go on ("Warrants, each exercisable for one share of common stock"; "Common
Stock and associated preferred share purchase rights"), so the words that come first decide."""

_TITLE: Final = [(kind, re.compile(rf"\b(?:{words})\b", re.IGNORECASE)) for kind, words in _TITLES]

_MORE: Final[dict[AssetKind, re.Pattern[str]]] = {
    "leveraged": re.compile(
        r"(?<![\w.])-?[1-5](?:\.\d+)?x\b|\b(?:leveraged|inverse|daily target)\b|\bproshares\b.*\b(?:ultra\w*"
        r"|short(?![- ]term|[- ]duration))\b|\bdirexion daily\b.*\b(?:bull|bear)\b|\b(?:ultrashort|ultrapro)\b",
        re.IGNORECASE,
    ),
    "funds": re.compile(r"\b(?:etfs?|etns?|funds?|ishares|spdr|proshares|direxion)\b", re.IGNORECASE),
    "when_issued": re.compile(r"\bwhen[- ](?:issued|distributed)\b|\bex[- ]distribution\b", re.IGNORECASE),
    "test": re.compile(r"\btest (?:stock|symbol|issue|security|company)\b", re.IGNORECASE),
}
"""Kinds that may come beside another one, and the words of their names."""

_SUFFIXES: Final[dict[AssetKind, re.Pattern[str]]] = {
    "warrants": re.compile(r"[.\-](?:WS|WT|W)(?:[.\-]?[A-Z])?"),
    "units": re.compile(r"[.\-](?:U|UN)"),
    "rights": re.compile(r"[.\-](?:R|RT|RI)"),
    "preferreds": re.compile(r"[.\-](?:PR[.\-]?[A-Z]?|PF[A-Z]?|P[A-Z])"),
    "when_issued": re.compile(r"[.\-](?:WI|WD)"),
}
"""Kind -> what follows the root of a symbol (`PL.WS`, `AAM.U`, `BAC.PRK`); classes of shares (`BRK.B`) are no kind."""

_FIFTH_LETTER: Final[dict[str, AssetKind]] = {"W": "warrants", "U": "units", "R": "rights"}
"""Nasdaq's fifth letters; they count where the four letters before them are listed too."""

_TEST_SYMBOL: Final = re.compile(r"Z[A-Z]ZZT|[A-Z]TEST(?:[.\-][A-Z])?|ZTST|ZBZX|ZIEXT|ZXIET|ZEXIT")
"""The exchanges' test symbols, such as ZVZZT and NTEST."""

_ROOT: Final = re.compile(r"[A-Z0-9]+")


def kinds_of(
    symbol: str, name: str = "", attributes: Collection[str] = (), listed: Collection[str] = ()
) -> set[AssetKind]:
    """The kinds of a security; none for a common stock.

    Args:
        symbol: as Alpaca or Yahoo writes it.
        name: the official name; empty, or the symbol, where none is known.
        attributes: Alpaca's attributes of the asset.
        listed: all listed symbols, which tell a warrant ABCDW from a stock of that name.
    """
    name = "" if name == symbol else name
    found: set[AssetKind] = {kind for kind, words in _MORE.items() if words.search(name)}
    by_name = _by_name(name)
    if by_name is None:
        by_symbol = _by_symbol(symbol, listed)
        found |= set() if by_symbol is None else {by_symbol}
    elif by_name != _SHARES:
        found.add(by_name)  # type: ignore[arg-type]
    if _TEST_SYMBOL.fullmatch(symbol):
        found.add("test")
    if "ptp_no_exception" in attributes:
        found.add("partnerships")
    return found


def _by_name(name: str) -> str | None:
    """What the words of a name that come first say."""
    hits = [(hit.start(), i, kind) for i, (kind, words) in enumerate(_TITLE) if (hit := words.search(name))]
    return min(hits)[2] if hits else None


def _by_symbol(symbol: str, listed: Collection[str]) -> AssetKind | None:
    root = _ROOT.match(symbol)
    rest = symbol[root.end() :] if root else symbol
    if rest:
        return next((kind for kind, suffix in _SUFFIXES.items() if suffix.fullmatch(rest)), None)
    return _FIFTH_LETTER.get(symbol[4:]) if len(symbol) == 5 and symbol[:4] in listed else None
