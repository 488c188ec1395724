"""The account: cash, positions, margin and orders, and the engine that advances it in time."""
