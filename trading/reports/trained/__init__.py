"""The page and the tables of a training, and the list of models."""
