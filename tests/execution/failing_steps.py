"""Every function of `trading.execution` that is called about one stock, found by watching a run, and made to fail."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trading.execution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

CONTAINMENT = frozenset({"Records.contain", "Records.answer", "Records.doubt", "Records.note_failure"})
"""What contains the exceptions of all others."""


class Steps:
    """Watches the functions that are called with a stock, and makes one of them raise for that stock.

    Args:
        symbol: the stock.

    A call is about the stock if an argument, `self` included, has this symbol or is a text with it, such as the name of
    an order.
    """

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self.seen: set[tuple[str, str]] = set()
        """Qualified names of the functions that were called about the stock, each with that of its caller."""
        self._failing = ""
        self._error: Callable[[], Exception] = ValueError
        self.failures = 0

    @contextmanager
    def failing(self, name: str, error: Callable[[], Exception]) -> Iterator[None]:
        """Make a function raise whenever it is called about the stock."""
        self._failing, self._error, self.failures = name, error, 0
        yield
        self._failing = ""

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wrap every function and method of `trading.execution`, also where it is imported under its name."""
        names = [one.name for one in pkgutil.walk_packages(trading.execution.__path__, "trading.execution.")]
        modules = [importlib.import_module(name) for name in names]
        wrapped: dict[Any, Any] = {}
        for module in modules:
            for name, found in list(vars(module).items()):
                if inspect.isfunction(found) and found.__module__.startswith("trading.execution"):
                    wrapped.setdefault(found, self._wrapped(found))
                    monkeypatch.setattr(module, name, wrapped[found])
                elif inspect.isclass(found) and found.__module__ == module.__name__:
                    for method, function in list(vars(found).items()):
                        if inspect.isfunction(function) and not method.startswith("__"):
                            monkeypatch.setattr(found, method, self._wrapped(function))

    def _wrapped(self, function: Any) -> Any:
        name = function.__qualname__

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            if name not in CONTAINMENT and any(map(self._is_about, (*args, *options.values()))):
                self.seen.add((name, sys._getframe(1).f_code.co_qualname))
                if name == self._failing:
                    self.failures += 1
                    raise self._error()
            return function(*args, **options)

        return call

    def _is_about(self, argument: Any) -> bool:
        if isinstance(argument, str):
            return self._symbol in argument
        return getattr(argument, "symbol", None) == self._symbol
