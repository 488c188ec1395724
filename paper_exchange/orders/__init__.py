"""Orders: what they are, which are valid, and when they match."""
