"""The content of each page, computed from the state; knows nothing of HTTP."""
