"""The equity curve of a day as a picture, from its trade file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from trading.base.clock import NEW_YORK
from trading.records.log_reader import LogReader

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

CURVE, ZERO = "#1f5fa8", "#8a8f98"
GOOD, BAD = "#24774b", "#b8433d"
"""The colours of the pages (`trading/reports/templates/style.css`), in the light."""


def equity_curve(logs: Path, day: date) -> bytes | None:
    """Realised profit of the trades entered on a New York day, by the time of their exit, as PNG.

    It is called in a thread of the alerts, so it leaves matplotlib's global settings alone.

    Returns:
        None if no trade was closed.
    """
    closed = sorted(
        (one.exit_time.astimezone(NEW_YORK), float(one.pnl_amount))
        for one in LogReader(logs).trades([day])
        if one.exit_time is not None and one.pnl_amount is not None
    )
    if not closed:
        return None
    from matplotlib.dates import DateFormatter
    from matplotlib.figure import Figure

    total, times, values = 0.0, [closed[0][0]], [0.0]
    for at, amount in closed:
        total += amount
        times.append(at)
        values.append(total)
    figure = Figure(figsize=(6.4, 3.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.step(times, values, where="post", color=CURVE, linewidth=2)  # type: ignore[arg-type]
    axes.axhline(0, color=ZERO, linewidth=1, linestyle=":")
    axes.plot(times[-1:], values[-1:], "o", color=GOOD if total >= 0 else BAD)  # type: ignore[arg-type]
    axes.set_title(f"{day}: {total:+,.2f} dollars in {len(closed)} trades", loc="left")
    axes.set_ylabel("realised, dollars")
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=NEW_YORK))  # type: ignore[no-untyped-call]
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
