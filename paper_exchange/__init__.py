"""An exchange that speaks Alpaca's REST interface. Imports neither the stages nor trading/.

Two names to learn: `PaperExchange`, and `mount`, which puts an alpaca-py client onto one in this process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paper_exchange.account.store import StateError
    from paper_exchange.api.adapter import WsgiAdapter, mount
    from paper_exchange.exchange import Books, PaperExchange
    from paper_exchange.market.tape import Halt
    from paper_exchange.orders.conduct import Conduct

__all__ = ["Books", "Conduct", "Halt", "PaperExchange", "StateError", "WsgiAdapter", "mount"]

_HOMES = {
    "Books": "exchange",
    "Conduct": "orders.conduct",
    "Halt": "market.tape",
    "PaperExchange": "exchange",
    "StateError": "account.store",
    "WsgiAdapter": "api.adapter",
    "mount": "api.adapter",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `python -m paper_exchange --help` answers before Flask and numpy are loaded."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
