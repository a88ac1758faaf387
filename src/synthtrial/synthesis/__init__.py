"""Synthetic images: how many, of what, by which generator."""
