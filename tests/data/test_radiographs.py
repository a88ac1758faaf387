"""Radiographs as they are found, brought to one size; against TorchXRayVision's own code."""

import io
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthtrial.data.radiographs import fit_square, read_grey
from synthtrial.errors import SynthtrialError, UnreadableImageError
from synthtrial.testing.radiographs import MARKS, draw_radiograph, encode_radiograph

NOTHING = dict.fromkeys(MARKS, 0)
HALF_A_LEVEL = 1024 / 255  # on TorchXRayVision's scale from -1024 to 1024


def radiograph(height, width):
    image_HW = draw_radiograph("train/patient00001/study1/view1_frontal", NOTHING, False, 320, 0)
    return np.asarray(Image.fromarray(image_HW).resize((width, height)))


def encoded(image, kind="png", **options):
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


@pytest.fixture(scope="module")
def torchxrayvision():
    if find_spec("torchxrayvision") is None:
        pytest.skip("NOT TESTED: the extra 'xray' is not installed")
    # Importing it warns of what its dependencies are about to change; the answer is arrays.
    code = """
import sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from torchxrayvision.datasets import XRayCenterCrop, XRayResizer, normalize
folder, sizes = sys.argv[1], [int(size) for size in sys.argv[2:]]
for number, size in enumerate(sizes):
    image = normalize(np.load(f"{folder}/{number}.npy").astype(np.float32), 255)[None]
    np.save(f"{folder}/{number}-out.npy", XRayResizer(size)(XRayCenterCrop()(image))[0])
"""

    def run(folder, cases):
        for number, (image_HW, _) in enumerate(cases):
            np.save(folder / f"{number}.npy", image_HW)
        sizes = [str(size) for _, size in cases]
        subprocess.run(
            [sys.executable, "-c", code, str(folder), *sizes],
            check=True,
            capture_output=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        return [np.load(folder / f"{number}-out.npy") for number in range(len(cases))]

    return run


def test_fitting_is_what_torchxrayvision_does_to_half_a_grey_level(torchxrayvision, tmp_path):
    random = np.random.default_rng(0)
    shapes = [(390, 320), (320, 389), (365, 320), (320, 320), (201, 333), (64, 91)]
    images = [radiograph(*shape) for shape in shapes]
    images += [random.integers(0, 256, shape, dtype=np.uint8) for shape in ((390, 321), (97, 61))]
    cases = [(image, size) for image in images for size in (224, 64)]  # down and up
    cases.append((images[0], 320))
    for (image_HW, size), theirs in zip(cases, torchxrayvision(tmp_path, cases), strict=True):
        ours = fit_square(image_HW, size, "crop_then_resize", "torchxrayvision")
        assert (ours.dtype, ours.shape) == (np.uint8, (size, size))
        mapped = (2 * ours.astype(np.float64) / 255 - 1) * 1024
        assert np.abs(mapped - theirs).max() <= HALF_A_LEVEL + 0.01, (image_HW.shape, size)


@pytest.mark.parametrize("resampling", ["torchxrayvision", "antialias"])
def test_cropping_first_or_last_cuts_the_same_and_squashing_keeps_everything(resampling):
    image_HW = np.zeros((390, 320), dtype=np.uint8)
    image_HW[:35] = 255  # what a square in the middle leaves out
    first = fit_square(image_HW, 80, "crop_then_resize", resampling)
    last = fit_square(image_HW, 80, "resize_then_crop", resampling)
    squashed = fit_square(image_HW, 80, "squash", resampling)
    assert first.shape == last.shape == squashed.shape == (80, 80)
    inside = slice(2, -2)  # torchxrayvision's grey beyond the border reaches in here
    assert first[inside, inside].max() == 0
    assert last[inside, inside].max() <= 1
    assert squashed[2:6, inside].min() >= 250
    wide = fit_square(image_HW.T, 80, "resize_then_crop", resampling)
    np.testing.assert_array_equal(wide, last.T)


def test_pillow_and_torchxrayvision_agree_on_what_is_seen():
    image_HW = radiograph(390, 320)
    for fit in ("crop_then_resize", "resize_then_crop", "squash"):
        one, other = (fit_square(image_HW, 224, fit, r) for r in ("antialias", "torchxrayvision"))
        difference = np.abs(one.astype(int) - other)[4:-4, 4:-4]
        assert difference.mean() < 3
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.98


def test_an_image_of_the_right_size_is_left_alone():
    image_HW = radiograph(64, 64)
    for resampling in ("torchxrayvision", "antialias"):
        assert (fit_square(image_HW, 64, "crop_then_resize", resampling) == image_HW).all()


def test_grey_is_read_as_it_is_and_colours_by_their_luma():
    image_HW = radiograph(50, 40)
    assert (read_grey(encoded(Image.fromarray(image_HW))) == image_HW).all()
    rgb = np.stack([image_HW, np.zeros_like(image_HW), np.zeros_like(image_HW)], axis=2)
    red = read_grey(encoded(Image.fromarray(rgb)))
    np.testing.assert_allclose(red, 0.299 * image_HW, atol=1)
    black = Image.fromarray((image_HW > 100).astype(np.uint8) * 255).convert("1")
    assert set(np.unique(read_grey(encoded(black)))) == {0, 255}


def test_sixteen_bits_come_down_to_eight():
    image_HW = radiograph(50, 40)
    assert (read_grey(encode_radiograph(image_HW, sixteen_bit=True)) == image_HW).all()
    deep = np.array([[0, 128, 129, 65535]], dtype=np.uint16)  # rounded, not cut
    assert read_grey(encoded(Image.fromarray(deep))).tolist() == [[0, 0, 1, 255]]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content: b"", "the file is empty"),
        (lambda content: content[: len(content) // 2], "cannot be decoded"),
        (lambda content: b"no image at all", "cannot be decoded"),
        (lambda content: content[:30], "cannot be decoded"),
    ],
)
@pytest.mark.parametrize("sixteen_bit", [False, True])
def test_what_is_damaged_is_unreadable(damage, says, sixteen_bit):
    content = encode_radiograph(radiograph(80, 60), sixteen_bit=sixteen_bit)
    with pytest.raises(UnreadableImageError, match=says):
        read_grey(damage(content))


@pytest.fixture(scope="module")
def dicom():
    for package in ("pydicom", "data_store"):
        if find_spec(package) is None:
            pytest.skip("NOT TESTED: install the extra 'test': pydicom and pydicom-data")
    folder = Path(find_spec("data_store").submodule_search_locations[0])
    return (folder / "data" / "RG1_UNCR.dcm").read_bytes()


def test_a_real_radiograph_of_dicom_shows_air_dark_and_the_body_bright(dicom):
    image_HW = read_grey(dicom)
    assert (image_HW.dtype, image_HW.shape) == (np.uint8, (1955, 1841))
    air_left, air_right = image_HW[80:160, :150].mean(), image_HW[80:160, -150:].mean()
    spine, lung = image_HW[700:1200, 850:1000].mean(), image_HW[500:700, 1200:1400].mean()
    assert max(air_left, air_right) < 100 < lung < spine - 20, (air_left, air_right, lung, spine)
    assert spine > 200
    square = fit_square(image_HW, 224, "crop_then_resize", "torchxrayvision")
    assert square.shape == (224, 224)


@pytest.mark.parametrize("keep", [140, 5000, 1_000_000])
def test_a_damaged_dicom_is_unreadable(dicom, keep):
    with pytest.raises(UnreadableImageError, match="cannot be decoded"):
        read_grey(dicom[:keep])


def test_dicom_without_pydicom_says_what_to_install(dicom, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(SynthtrialError, match=r"pip install 'synthtrial\[dicom\]'") as caught:
        read_grey(dicom)
    assert not isinstance(caught.value, UnreadableImageError)  # no image's fault


def test_reading_is_the_same_in_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    contents = [encode_radiograph(radiograph(90 + k, 80)) for k in range(6)]

    def work(content):
        return fit_square(read_grey(content), 48, "crop_then_resize", "torchxrayvision")

    alone = [work(content) for content in contents]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(work, contents * 8))
    for number, image in enumerate(together):
        np.testing.assert_array_equal(image, alone[number % len(alone)])
