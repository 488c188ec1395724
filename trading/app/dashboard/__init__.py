"""What dashboard.py does."""
