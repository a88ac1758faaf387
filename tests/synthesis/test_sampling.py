import dataclasses
import json

import numpy as np
import pytest
import torch

from synthtrial.classify.saving import write_network
from synthtrial.errors import DamagedArtifactError, DataError, StoreError
from synthtrial.synthesis.generators import PROJECTION, ProjectionConfig
from synthtrial.synthesis.networks import build_networks
from synthtrial.synthesis.sampling import GENERATOR, read_generator, sample_shard

CLASSES = ("ash", "crack", "dent")


@dataclasses.dataclass(frozen=True)
class Folder:
    path: object

    def file(self, name):
        return self.path / name


def build(channels=3):
    options = ProjectionConfig(latent=5, width=8)
    shape = {"channels": channels, "size": 8, "multi_label": True}
    built = build_networks(PROJECTION, options, classes=len(CLASSES), seed=0, draw=0, **shape)
    return built, options, shape


@pytest.fixture
def artifact(tmp_path):
    built, options, shape = build()
    state = built.generator.state_dict()
    write_network(tmp_path, GENERATOR, PROJECTION, options, state, classes=CLASSES, **shape)
    return Folder(tmp_path)


def make(*arguments, **place):
    return np.concatenate(list(sample_shard(*arguments, **place)))


def vectors(count):
    return np.random.default_rng(0).integers(0, 2, size=(count, 3), dtype=np.int8)


def test_a_generator_survives_the_disk(artifact):
    generator = read_generator(artifact)
    original = build()[0].generator.state_dict()
    for name, value in generator.module.state_dict().items():
        assert torch.equal(value, original[name])
    assert (generator.latent, generator.classes) == (5, CLASSES)
    assert (generator.channels, generator.size) == (3, 8)


def test_reading_leaves_the_random_state_alone(artifact):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    read_generator(artifact)
    assert torch.equal(torch.get_rng_state(), before)


def test_images_are_bytes_with_channels_last(artifact):
    images_MHWC = make(read_generator(artifact), vectors(7), seed=0, draw=0, shard=0)
    assert images_MHWC.shape == (7, 8, 8, 3)
    assert images_MHWC.dtype == np.uint8
    assert images_MHWC.std() > 5


def test_a_shard_depends_on_its_number_and_begins_the_same_when_shorter(artifact):
    generator = read_generator(artifact)
    first = make(generator, vectors(300), seed=0, draw=0, shard=0)
    again = make(generator, vectors(300), seed=0, draw=0, shard=0)
    prefix = make(generator, vectors(300)[:256], seed=0, draw=0, shard=0)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[:256], prefix)
    for other in ({"seed": 1}, {"draw": 1}, {"shard": 1}):
        place = {"seed": 0, "draw": 0, "shard": 0} | other
        assert (make(generator, vectors(300), **place) != first).any()


def test_the_label_vector_changes_the_image_and_the_latent_stays(artifact):
    generator = read_generator(artifact)
    here = make(generator, np.array([[1, 0, 0], [0, 1, 0]]), seed=0, draw=0, shard=0)
    there = make(generator, np.array([[0, 0, 1], [0, 1, 0]]), seed=0, draw=0, shard=0)
    assert (here[0] != there[0]).any()
    np.testing.assert_array_equal(here[1], there[1])


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.full((2, 3), -1), np.full((2, 3), np.nan)])
def test_vectors_that_are_not_of_its_classes_are_refused(artifact, bad):
    with pytest.raises(DataError, match="ash, crack, dent"):
        make(read_generator(artifact), bad, seed=0, draw=0, shard=0)


def test_a_generator_of_another_version_is_refused(artifact):
    path = artifact.file("generator.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(StoreError, match=r"version 99.*version 1 is installed"):
        read_generator(artifact)


@pytest.mark.parametrize("name", ["generator.json", "generator.safetensors"])
def test_a_truncated_file_is_named(artifact, name):
    path = artifact.file(name)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DamagedArtifactError, match=name):
        read_generator(artifact)
