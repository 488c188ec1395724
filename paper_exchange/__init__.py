"""A paper exchange that speaks Alpaca's REST interface; independent of the trading system.

`PaperExchange` is the exchange; `mount` connects an alpaca-py client to one in this process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paper_exchange.base.wsgi import WsgiAdapter, mount
    from paper_exchange.books.ledger import AccountSnapshot
    from paper_exchange.books.store import StateError
    from paper_exchange.exchange import PaperExchange
    from paper_exchange.market.tape import Halt
    from paper_exchange.orders.behaviour import Behaviour

__all__ = ["AccountSnapshot", "Behaviour", "Halt", "PaperExchange", "StateError", "WsgiAdapter", "mount"]

_MODULES = {
    "AccountSnapshot": "books.ledger",
    "Behaviour": "orders.behaviour",
    "Halt": "market.tape",
    "PaperExchange": "exchange",
    "StateError": "books.store",
    "WsgiAdapter": "base.wsgi",
    "mount": "base.wsgi",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `python -m paper_exchange --help` does not wait for Flask and numpy."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
