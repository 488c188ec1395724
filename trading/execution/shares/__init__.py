"""Whose the shares are that the broker holds beyond the open trades."""
