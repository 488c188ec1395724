"""The trading half of the REST interface, and the gateway that serves both halves as a WSGI application."""
