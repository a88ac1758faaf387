"""Classifiers: networks, the training loop, metrics."""
