"""The account: cash, positions, margin, and the engine that moves it through time."""
