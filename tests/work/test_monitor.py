import json

import numpy as np
import torch
from PIL import Image

from synthtrial.work.monitor import COLUMNS, Monitor

FIGURES = {"generator_loss": 0.5, "discriminator_loss": 1.5, "images_per_second": 100.0}


class Painter(torch.nn.Module):
    """Makes images of one brightness: the number of the class, over ten."""

    def forward(self, z_BZ, y_BK):
        self.latents = z_BZ
        level_B = y_BK.argmax(1).float() / 10
        return level_B[:, None, None, None].expand(-1, 1, 4, 4)


def monitor(folder, **options):
    settings = {"steps": 80, "classes": ("a", "b", "c"), "shown": ["c", "a"], "latent": 3}
    place = {"seed": 0, "draw": 0, "device": "cpu"}
    return Monitor(folder, **settings, **place, **options)


def test_a_sheet_has_a_row_for_each_class_in_the_order_asked_for(tmp_path):
    watching, painter = monitor(tmp_path), Painter()
    watching.report(10, FIGURES, painter)
    (sheet,) = watching.sheets
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape == (8, 4 * COLUMNS)
    assert (pixels[:4] == round(1.2 * 127.5)).all()  # class c
    assert (pixels[4:] == round(1.0 * 127.5)).all()  # class a


def test_latents_stay_the_same_from_class_to_class_and_sheet_to_sheet(tmp_path):
    watching, painter = monitor(tmp_path), Painter()
    watching.report(10, FIGURES, painter)
    first = painter.latents
    watching.report(20, FIGURES, painter)
    assert torch.equal(first, painter.latents)
    assert torch.equal(first[:COLUMNS], first[COLUMNS:])


def test_sheets_are_few_and_the_last_step_has_one(tmp_path):
    watching = monitor(tmp_path)
    for step in range(1, 81):
        watching.report(step, FIGURES, Painter())
    steps = [int(sheet.stem.removeprefix("step-")) for sheet in watching.sheets]
    assert steps == [10, 20, 30, 40, 50, 60, 70, 80]


def test_progress_says_how_far_it_is_and_what_is_recognised(tmp_path):
    def recognise(images_NCHW, names):
        assert images_NCHW.shape == (2 * COLUMNS, 1, 4, 4)
        assert names == ["c"] * COLUMNS + ["a"] * COLUMNS
        return {"c": 0.25, "a": 1.0}

    monitor(tmp_path, recognise=recognise).report(10, FIGURES, Painter())
    progress = json.loads((tmp_path / "progress.json").read_text())
    assert progress == {"step": 10, "steps": 80, **FIGURES, "recognised": {"c": 0.25, "a": 1.0}}


def test_tensorboard_gets_figures_and_sheets(tmp_path):
    folder = tmp_path / "boards"
    watching = monitor(tmp_path, tensorboard=folder)
    watching.report(10, FIGURES, Painter())
    watching.close()
    (events,) = folder.iterdir()
    content = events.read_bytes()
    for name in (*FIGURES, "samples"):
        assert name.encode() in content


def test_nothing_is_written_before_the_first_report(tmp_path):
    monitor(tmp_path / "new")
    assert not (tmp_path / "new").exists()
