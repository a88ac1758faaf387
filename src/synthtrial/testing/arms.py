"""What every arm preset must do, for plug-in authors to run on their own.

Subclass the contract in a pytest file and say what is to be tested:

    class TestMyArm(ArmContract):
        component = my_package.MY_ARM
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from omegaconf import OmegaConf

from synthtrial.config import ArmConfig
from synthtrial.driver import smoke
from synthtrial.registry import Component
from synthtrial.store.artifacts import open_store
from synthtrial.store.records import read_records
from synthtrial.study import Study, load
from synthtrial.testing.components import check_component
from synthtrial.testing.studies import run_here

_ARM = "arm"


class ArmContract:
    """The contract of an arm preset. Augmentations that it names must be installed.

    Attributes:
        component: the preset.
        balance: how many images are added, if the preset adds any and does not say so itself.
    """

    component: ClassVar[Component]
    balance: ClassVar[dict[str, Any]] = {"count": 5}

    def preset(self) -> ArmConfig:
        """Return the preset's settings."""
        preset = self.component.load()
        assert isinstance(preset, ArmConfig), (
            f"{self.component.implementation} is a {type(preset).__name__}; a preset's "
            "implementation is an instance of synthtrial.config.ArmConfig"
        )
        return preset

    def study(self, folder: Path) -> Study:
        """Return the smallest study of the arm: the digits, two steps of each task."""
        preset = self.preset()
        named = {name for name in (preset.repeat, preset.steps_of) if name is not None}
        text = OmegaConf.to_yaml(
            {
                "name": "contract",
                "dataset": {"name": "digits"},
                "imbalance": {"classes": ["8", "9"], "remove": 0.5},
                "balance": self.balance,
                "regimens": [0.2],
                "arms": {
                    _ARM: dataclasses.asdict(preset),
                    **{n: {"synthetic": True} for n in named},
                },
                "generator": {"name": "projection", "width": 8},
                "classifier": {"name": "small_cnn", "width": 8},
                "metrics": ["accuracy", "recall"],
                "statistics": {"baseline": _ARM},
            }
        )
        path = folder / "contract.yaml"
        path.write_text(text, encoding="utf-8")
        return smoke(load(path, [f"store.cache_path={folder / 'cache'}"]))

    def test_it_is_a_component_of_arm_settings(self) -> None:
        """Its config is :class:`ArmConfig`, whose fields a study may override."""
        check_component(self.component)
        assert self.component.config is ArmConfig

    def test_it_does_not_inherit_from_another_preset(self) -> None:
        """A study names one preset; a preset of a preset would be ignored."""
        assert self.preset().preset is None

    def test_a_study_accepts_it(self, tmp_path: Path) -> None:
        """Its augmentations are installed, and nothing in it contradicts itself."""
        assert _ARM in self.study(tmp_path).arms

    def test_its_trials_run(self, tmp_path: Path) -> None:
        """Every task of a study of it, for two steps each."""
        study, store = self.study(tmp_path), open_store(tmp_path / "store")
        assert run_here(study, store).complete
        rows = read_records(store).select(["arm", "stage", "status", "n_added"]).to_pylist()
        mine = [row for row in rows if row["arm"] == _ARM]
        assert {row["stage"] for row in mine} == {"grid", "replicate"}
        assert {row["status"] for row in mine} == {"done"}
        adds = study.arms[_ARM].adds_images
        assert all((row["n_added"] > 0) == adds for row in mine)
