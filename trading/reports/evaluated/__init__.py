"""The pages and the tables of walk-forwards and comparisons, and the sections that they share with a training."""
