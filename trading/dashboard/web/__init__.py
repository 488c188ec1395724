"""The server: routes, protection, event stream and the files that it serves."""
