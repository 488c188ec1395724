"""What `build_dataset.py`, `ml_trainer.py` and `ml_predictor.py` do."""
