"""What changes a data folder: builds, fetches, splits, and pruning."""
