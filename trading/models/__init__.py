"""Models on disk, which of them is in service, and the predictions that it makes."""
