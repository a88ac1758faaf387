"""Datasets, splits, regimens and labels."""
