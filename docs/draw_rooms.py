"""Draw the rooms of both packages and the imports between them: `python -m docs.draw_rooms` writes docs/rooms_*.svg.

Left: an arrow for every import that does not follow from other arrows; a room may import from all rooms below it that
its arrows reach.  Right: the number of imports between every two rooms.  An arrow that would close a circle is red.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import grimp
import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

PACKAGES = ("trading", "paper_exchange")
INK, BOX, PAPER, RED = "#1b2733", "#e3edf7", "#ffffff", "#c62828"
WIDTH = 9.0
"""Width of the left picture; one unit is about as long as the distance between two layers."""

Imports = Counter[tuple[str, str]]
"""(importing room, imported room) -> number of imports between their modules."""

Point = tuple[float, float]
"""Position of a room in the left picture: to the right, and its layer."""


def imports_between_rooms(package: str) -> Imports:
    """Count the imports between the rooms of a package, those for type checking included."""
    graph = grimp.build_graph(package, cache_dir=None)
    found: Imports = Counter()
    for module in graph.modules - {package}:
        for imported in graph.find_modules_directly_imported_by(module) - {package}:
            found[module.split(".")[1], imported.split(".")[1]] += 1
    return Imports({pair: count for pair, count in found.items() if pair[0] != pair[1]})


def layers(imports: Imports) -> list[list[str]]:
    """The rooms from the lowest layer up: each imports only from rooms in lower layers, unless there is a circle."""
    waiting = {room for pair in imports for room in pair}
    placed: list[list[str]] = []
    while waiting:
        missing = {room: sum(1 for low in waiting if imports[room, low]) for room in sorted(waiting)}
        fewest = min(missing.values())
        ready = [room for room in missing if missing[room] == fewest]
        placed.append(ready if fewest == 0 else ready[:1])
        waiting.difference_update(placed[-1])
    return placed


def draw(package: str, target: Path) -> None:
    """Write the picture of one package."""
    imports = imports_between_rooms(package)
    rows = layers(imports)
    figure = Figure(figsize=(15.5, 8.2), facecolor=PAPER, layout="constrained")
    arrows, matrix = figure.subplots(1, 2, width_ratios=(1, 1.05))
    figure.suptitle(f"Rooms of {package}", color=INK, fontsize=16)
    matrix.set_xlabel("number of imports: the row imports the column", color=INK, fontsize=14)
    _draw_arrows(arrows, imports, rows)
    _draw_matrix(matrix, imports, [room for row in reversed(rows) for room in row])
    figure.savefig(target, metadata={"Date": None, "Creator": None})


def _draw_arrows(axes: Axes, imports: Imports, rows: list[list[str]]) -> None:
    place: dict[str, Point] = {
        room: (WIDTH * (i + 1) / (len(row) + 1) + (1.3 if level % 2 else -1.3) * (len(row) == 1), float(level))
        for level, row in enumerate(rows)
        for i, room in enumerate(row)
    }
    boxes: dict[str, Patch | None] = {}
    for room, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.45", "facecolor": BOX, "edgecolor": INK}
        text = axes.text(x, y, room, ha="center", va="center", color=INK, fontsize=13, bbox=box, zorder=3)
        boxes[room] = text.get_bbox_patch()
    reached: dict[str, set[str]] = {}
    for room in (room for row in rows for room in row):
        direct = {low for low in place if imports[room, low] and place[low][1] < place[room][1]}
        implied = {far for low in direct for far in reached[low]}
        reached[room] = direct | implied
        upward = {high for high in place if imports[room, high] and place[high][1] >= place[room][1]}
        for other in sorted(direct - implied | upward):
            bend = _bend(place[room], place[other], place.values())
            arrow = FancyArrowPatch(
                place[room],
                place[other],
                arrowstyle="-|>,head_width=4,head_length=7",
                connectionstyle=f"arc3,rad={bend if other in direct else 0.4}",
                patchA=boxes[room],
                patchB=boxes[other],
                shrinkA=0,
                shrinkB=1,
                color=RED if other in upward else INK,
                linewidth=0.8 + min(imports[room, other], 20) / 7,
            )
            axes.add_patch(arrow)
    axes.set(xlim=(0, WIDTH), ylim=(-0.5, len(rows) - 0.5))
    axes.axis("off")


def _bend(start: Point, end: Point, rooms: Iterable[Point]) -> float:
    """The curvature ("arc3" of matplotlib) at which an arrow in the picture passes behind the fewest other rooms."""
    others = [room for room in rooms if room not in (start, end)]
    (x0, y0), (x2, y2) = start, end

    def hidden(bend: float) -> int:
        x1, y1 = (x0 + x2) / 2 + bend * (y2 - y0), (y0 + y2) / 2 - bend * (x2 - x0)
        parts = [((1 - t) ** 2, 2 * t * (1 - t), t**2) for t in (i / 40 for i in range(41))]
        curve = [(p * x0 + q * x1 + r * x2, p * y0 + q * y1 + r * y2) for p, q, r in parts]
        outside = sum(not 0 < x < WIDTH for x, _ in curve)
        return outside + sum(abs(x - room[0]) < 0.9 and abs(y - room[1]) < 0.4 for x, y in curve for room in others)

    return min((sign * bend for bend in (0.0, 0.15, 0.3, 0.45, 0.55, 0.7, 1.1) for sign in (1, -1)), key=hidden)


def _draw_matrix(axes: Axes, imports: Imports, rooms: list[str]) -> None:
    counts = [[imports[row, column] for column in rooms] for row in rooms]
    shades = [[min(count, 20) ** 0.5 for count in row] for row in counts]
    axes.imshow(shades, cmap="Blues", vmin=0, vmax=7)
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            if count:
                axes.text(x, y, str(count), ha="center", va="center", color=RED if x < y else INK, fontsize=12)
    axes.set_xticks(range(len(rooms)), rooms, rotation=50, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(rooms)), rooms)
    axes.tick_params(labelsize=12, labelcolor=INK, length=0, top=True, bottom=False, labeltop=True, labelbottom=False)


def main() -> None:
    """Write both pictures: the same bytes for the same imports."""
    mpl.rcParams.update({"svg.hashsalt": "rooms", "svg.fonttype": "none", "font.family": "sans-serif"})
    for package in PACKAGES:
        draw(package, Path(__file__).with_name(f"rooms_{package}.svg"))


if __name__ == "__main__":
    main()
