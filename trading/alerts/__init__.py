"""Alerts: what a running trader tells its owner, by mail, messenger or push service."""
