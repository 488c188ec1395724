"""The look of the pages: their model and style, the glossary, and the names of their files."""

from typing import Final

REPORT: Final = "report.html"
INDEX: Final = "index.html"
AGAINST: Final = "against_backtest.html"
SCRIPT: Final = "plotly.min.js"
"""The script of plotly.js, 4.8 MB; it is written once beside the pages."""
EARLIER: Final = "earlier"
"""Folder inside that of the logs where the logs and pages of earlier replays lie, each replay in a numbered folder."""
