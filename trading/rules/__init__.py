"""The owner's rules as pure functions: entry filters, position size, guards, exits."""
