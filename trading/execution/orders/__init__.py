"""The orders of one account: entries, exits, stops, those of others, and the positions they are compared with."""
