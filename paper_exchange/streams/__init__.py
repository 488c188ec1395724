"""The server: REST and the websocket streams (trade updates and market data) on one port."""
