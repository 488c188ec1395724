"""What closed trades teach: rows with their outcomes, and the figures of how they came out."""
