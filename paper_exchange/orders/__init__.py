"""Orders: their state, their validation, their lifetime and the rules by which they match."""
