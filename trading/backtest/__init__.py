"""Walk-forward evaluation: each session scored by a model that was trained on the evening before."""
