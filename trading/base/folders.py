"""Whether folders are apart from each other."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


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
