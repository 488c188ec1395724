"""The report of the logs: what was really traded, in words, tables, charts and pages."""

from typing import Final

REPORT: Final = "report.html"
INDEX: Final = "index.html"
SCRIPT: Final = "plotly.min.js"
"""The script of plotly.js, 4.8 MB; it is written once beside the pages."""
