"""Imported by the fork server of the local engine, so that its workers need not."""

from __future__ import annotations

import torch

import synthtrial.synthesis.sampling
import synthtrial.synthesis.training
import synthtrial.work.context
import synthtrial.work.trial

__all__ = ["synthtrial", "torch"]
