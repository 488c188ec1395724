"""What people read: pages, charts, console output."""
