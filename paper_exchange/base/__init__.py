"""Wire format, clock, calendar and WSGI transport: the base of every other package."""
