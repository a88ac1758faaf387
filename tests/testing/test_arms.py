from __future__ import annotations

from synthtrial.classify import catalog
from synthtrial.config import ArmConfig
from synthtrial.registry import Component
from synthtrial.testing.arms import ArmContract

#: A preset as a plug-in could have it: the images of an arm `gan`, repeated.
MATCHED_ARM = ArmConfig(repeat="gan", sampler="balanced")


class TestNone(ArmContract):
    component = catalog.NONE


class TestStandard(ArmContract):
    component = catalog.STANDARD


class TestClassWeights(ArmContract):
    component = catalog.CLASS_WEIGHTS


class TestBalancedSampler(ArmContract):
    component = catalog.BALANCED_SAMPLER


class TestMatched(ArmContract):
    component = Component("matched", 1, ArmConfig, "here:MATCHED_ARM")

    def preset(self):
        return MATCHED_ARM
