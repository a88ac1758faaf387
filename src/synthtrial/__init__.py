"""Controlled trials of synthetic training data."""

from __future__ import annotations

__version__ = "0.1.0"
