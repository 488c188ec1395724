"""Alpaca's REST interface as a WSGI application."""
