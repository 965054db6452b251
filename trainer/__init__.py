"""Training: from a dataset directory to an evaluated, exported two-tower model."""
