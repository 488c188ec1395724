"""The account at work: the entry of orders and their checks, their life, and the engine that advances it in time."""
