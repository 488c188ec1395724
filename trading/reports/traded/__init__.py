"""The report of the logs: what was really traded, in words, tables, charts and pages."""
