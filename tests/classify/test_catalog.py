import subprocess
import sys

import pytest

from synthtrial import registry
from synthtrial.config import ArmConfig

OURS = {
    "classifier": ["densenet121", "efficientnet_lite0", "small_cnn", "txrv_densenet121"],
    "augmentation": ["blur", "flip", "intensity", "shift"],
    "metric": ["accuracy", "auc", "auprc", "balanced_accuracy", "recall"],
    "arm": ["balanced_sampler", "class_weights", "none", "standard"],
}


@pytest.mark.parametrize("kind", OURS)
def test_every_component_is_installed_with_defaults(kind):
    for name in OURS[kind]:
        component = registry.find(kind, name)
        assert component.name == name
        component.config()
        loaded = component.load()
        assert isinstance(loaded, ArmConfig) if kind == "arm" else callable(loaded)


def test_the_catalog_imports_nothing_heavy():
    code = (
        "import sys, synthtrial.classify.catalog; "
        "print({'torch', 'torchvision', 'sklearn', 'scipy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
