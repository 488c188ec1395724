"""The orders of one account: entries, exits and stops, and the cache of what the broker knows of them."""
