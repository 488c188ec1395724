"""The websocket streams: trade updates and market data."""
