"""Walk-forward evaluation: each session is scored by a model trained on the sessions before it."""
