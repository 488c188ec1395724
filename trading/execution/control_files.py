"""Two files by which a person tells a running trader what to do: `STOP` and `FLATTEN`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

STOP: Final = "STOP"
FLATTEN: Final = "FLATTEN"


@dataclass(frozen=True)
class Controls:
    """The files of a folder; they are looked for anew each time."""

    folder: Path

    @property
    def stop(self) -> bool:
        """Open nothing, close nothing: what rests at the exchange stays."""
        return (self.folder / STOP).exists()

    @property
    def flatten(self) -> bool:
        """Sell everything, then end."""
        return (self.folder / FLATTEN).exists()
