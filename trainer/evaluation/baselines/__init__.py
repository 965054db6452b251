"""Recommenders that a trained model has to beat, fitted and asked on the same sequences."""
