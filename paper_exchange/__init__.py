"""An exchange that speaks Alpaca's REST interface. Imports neither the stages nor trading/.

Two names to learn: `PaperExchange`, and `mount`, which puts an alpaca-py client onto one in this process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paper_exchange.adapter import WsgiAdapter, mount
    from paper_exchange.conduct import Conduct
    from paper_exchange.exchange import Books, PaperExchange
    from paper_exchange.store import StateError
    from paper_exchange.tape import Halt

__all__ = ["Books", "Conduct", "Halt", "PaperExchange", "StateError", "WsgiAdapter", "mount"]

_HOMES = {
    "Books": "exchange",
    "Conduct": "conduct",
    "Halt": "tape",
    "PaperExchange": "exchange",
    "StateError": "store",
    "WsgiAdapter": "adapter",
    "mount": "adapter",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `python -m paper_exchange --help` answers before Flask and numpy are loaded."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
