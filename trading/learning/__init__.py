"""Training, calibration, evaluation and promotion of models."""
