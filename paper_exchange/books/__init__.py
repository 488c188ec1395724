"""The books of one account: its orders, cash and positions, what they are worth, and their storage."""
