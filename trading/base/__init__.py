"""Array types, clock, calendar, errors, files and market folders: modules that every room uses and no domain logic."""
