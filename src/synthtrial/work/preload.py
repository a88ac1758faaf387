"""Imported by the fork server of the local engine, so that its workers need not.

Some of it would otherwise be imported inside the first task of every worker, seconds each time:
torch's optimisers import ``torch._dynamo``, and pyarrow imports pandas to read a label table.
"""

from __future__ import annotations

import pandas as pd
import pyarrow.dataset
import torch
import torch._dynamo

import synthtrial.synthesis.sampling
import synthtrial.synthesis.training
import synthtrial.work.context
import synthtrial.work.trial

__all__ = ["pd", "pyarrow", "synthtrial", "torch"]
