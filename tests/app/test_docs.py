"""The documentation agrees with the code: settings, links, and the functions that a page names."""

from __future__ import annotations

import importlib
import re
from datetime import time
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from config import FIELDS, PROJECT

MARKDOWN = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("benchmarks/*.md")])
MARKDOWN += sorted(PROJECT.glob("paper_exchange/**/*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"`(trading(?:\.\w+)+):([\w.]+)`")
BOUNDS = ("ge", "gt", "le", "lt")


def targets(page: Path) -> list[tuple[Path, str]]:
    """The relative links of a page: the file, and the anchor in it (empty: none)."""
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    parts = [link.partition("#") for link in links]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in parts]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows_of_settings() -> dict[str, list[str]]:
    """Name of a setting -> the other cells of its row in docs/settings.md."""
    rows: dict[str, list[str]] = {}
    for line in (PROJECT / "docs/settings.md").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\| `([A-Z_]+)` \|", line):
            assert found[1] not in rows, f"{found[1]} has two rows"
            rows[found[1]] = [cell.strip() for cell in line.strip("|").split("|")[1:]]
    return rows


def written(default: Any) -> str:
    """A default as docs/settings.md writes it."""
    if default is None:
        return "not set"
    if isinstance(default, Path):
        return "the project" if default == PROJECT else default.relative_to(PROJECT).as_posix()
    if isinstance(default, time):
        return f"{default:%H:%M}"
    if isinstance(default, tuple):
        return ",".join(default)
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_settings_page_lists_exactly_the_settings() -> None:
    assert list(rows_of_settings()) == list(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_settings_page_has_default_and_bounds(name: str) -> None:
    _, bounds, default, meaning = rows_of_settings()[name]
    assert default == written(FIELDS[name].default)
    assert meaning
    numbers = re.findall(r"\d+(?:\.\d+)?", re.sub(r"\d\d:\d\d", "", bounds))
    known = [getattr(about, bound) for about in FIELDS[name].metadata for bound in BOUNDS if hasattr(about, bound)]
    assert sorted(map(float, numbers)) == sorted(map(float, known))


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_relative_links_resolve(page: Path) -> None:
    for target, anchor in targets(page):
        assert target.exists(), f"{page.name} links {target}"
        assert not anchor or anchor in anchors(target), f"{page.name} links #{anchor} of {target.name}"


def test_index_links_every_page() -> None:
    index = PROJECT / "docs/index.md"
    linked = {target for target, _ in targets(index)}
    assert [page for page in MARKDOWN if page not in linked and page not in (index, PROJECT / "README.md")] == []


def test_walk_of_one_bar_names_functions_that_exist() -> None:
    named = NAMED.findall((PROJECT / "docs/architecture.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    for module, path in named:
        assert callable(reduce(getattr, path.split("."), importlib.import_module(module))), f"{module}:{path}"


def test_every_row_of_the_restart_table_names_a_test_that_exists() -> None:
    rows = [line for line in (PROJECT / "docs" / "restart.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 30
    for row in rows:
        found = re.search(r"\| `(\S+)`: `(test_\w+)` \|$", row)
        assert found is not None, row
        assert f"def {found[2]}(" in (PROJECT / "tests" / found[1]).read_text(), row
