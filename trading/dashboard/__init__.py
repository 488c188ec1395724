"""The dashboard: pages that show a trader from its files, and, if asked for, control it through files."""
