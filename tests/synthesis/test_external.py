from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from synthtrial.errors import ConfigError, DataError
from synthtrial.store.images import ImageRow, write_shard
from synthtrial.store.shards import encode_png
from synthtrial.synthesis.external import (
    EXTERNAL,
    ExternalConfig,
    choose,
    identify,
    lineage_of,
    load_images,
    read_table,
    table_digest,
)
from synthtrial.testing.components import check_component

PETS = ("wolf", "ant", "moth")  # sorted: ant, moth, wolf


def picture(number: int, size: int = 8, channels: int = 1) -> np.ndarray:
    random = np.random.default_rng(number)
    return random.integers(0, 256, size=(size, size, channels), dtype=np.uint8)


def write_csv(path: Path, header, rows) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def folder_of(place: Path, names, **kind) -> None:
    for number, name in enumerate(names):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(picture(number, **kind)))


LABELS = ("moth", "wolf", "ant", "moth", "ant", "moth")
FILES = tuple(f"images/{number}.png" for number in range(len(LABELS)))


@pytest.fixture
def pets(tmp_path):
    """Six images in files, listed with the names of their classes."""
    folder_of(tmp_path, FILES)
    write_csv(tmp_path / "made.csv", ["path", "label"], zip(FILES, LABELS, strict=True))
    return ExternalConfig(table=str(tmp_path / "made.csv"), label_column="label")


def one_hot(names, classes=("ant", "moth", "wolf")) -> np.ndarray:
    return np.array([[int(c == name) for c in classes] for name in names], dtype=np.int8)


def images(count: int, **kind) -> np.ndarray:
    return np.stack([picture(number, **kind) for number in range(count)])


def test_the_component_keeps_the_rules_of_components():
    check_component(EXTERNAL)
    assert EXTERNAL.load() is read_table
    assert EXTERNAL.load_identity() is identify


def test_a_csv_of_files_gives_labels_by_name_and_images(pets):
    table = read_table(pets, PETS, multi_label=False)
    assert table.classes == ("ant", "moth", "wolf")
    assert (table.names, len(table)) == (FILES, 6)
    np.testing.assert_array_equal(table.labels_NK, one_hot(LABELS))
    loaded = load_images(table, np.arange(6), channels=1, size=8)
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, images(6))
    order = [4, 0, 4]
    np.testing.assert_array_equal(load_images(table, order, 1, 8), images(6)[order])


def test_reading_the_table_opens_no_image(pets, tmp_path):
    shutil.rmtree(tmp_path / "images")
    assert len(read_table(pets, PETS, multi_label=False)) == 6


def test_the_images_may_lie_elsewhere(pets, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "images").rename(tmp_path / "other" / "images")
    moved = replace(pets, folder=str(tmp_path / "other"))
    table = read_table(moved, PETS, multi_label=False)
    np.testing.assert_array_equal(load_images(table, range(6), 1, 8), images(6))


def struct_of(contents, paths=None) -> pa.Array:
    paths = paths or [None] * len(contents)
    values = [{"bytes": c, "path": p} for c, p in zip(contents, paths, strict=True)]
    return pa.array(values, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def png(number: int) -> bytes:
    return encode_png(picture(number))


@pytest.mark.parametrize("kind", ["paths", "bytes", "struct", "struct of paths", "categories"])
def test_parquet_tables_may_hold_paths_or_the_images_themselves(tmp_path, kind):
    folder_of(tmp_path, FILES)
    contents = [png(number) for number in range(6)]
    column = {
        "paths": pa.array(FILES),
        "bytes": pa.array(contents),
        "struct": struct_of(contents, ["0.png"] * 6),  # the same name from many folders
        "struct of paths": struct_of([None] * 6, FILES),
        "categories": pa.array(FILES).dictionary_encode(),
    }[kind]
    path = tmp_path / "made.parquet"
    table = pa.table({"image": column, "label": pa.array(LABELS).dictionary_encode()})
    pq.write_table(table, path, row_group_size=2)
    config = ExternalConfig(str(path), image_column="image", label_column="label")
    read = read_table(config, PETS, multi_label=False)
    np.testing.assert_array_equal(read.labels_NK, one_hot(LABELS))
    np.testing.assert_array_equal(load_images(read, [5, 1, 0, 1], 1, 8), images(6)[[5, 1, 0, 1]])
    assert read.names[1] == {"bytes": "row 2", "struct": "0.png"}.get(kind, FILES[1])
    assert len(table_digest(config)) == 20


def test_what_hugging_face_datasets_writes_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    names = ["wolf", "moth", "ant"]
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=names)})
    pictures = [Image.fromarray(picture(number)[..., 0]) for number in range(6)]
    rows = {"image": pictures, "label": list(LABELS)}
    Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "made.parquet"))
    config = ExternalConfig(
        str(tmp_path / "made.parquet"), image_column="image", label_column="label"
    )
    table = read_table(config, PETS, multi_label=False)
    np.testing.assert_array_equal(table.labels_NK, one_hot(LABELS))
    np.testing.assert_array_equal(load_images(table, range(6), 1, 8), images(6))


def test_our_own_shards_are_read(tmp_path):
    rows = [
        ImageRow(f"made-{n}", None, picture(n), {c: int(c == name) for c in PETS}, intended=name)
        for n, name in enumerate(LABELS)
    ]
    write_shard(tmp_path / "shard.parquet", rows, PETS, synthetic=True)
    config = ExternalConfig(str(tmp_path / "shard.parquet"), image_column="image")
    table = read_table(config, PETS, multi_label=False)
    np.testing.assert_array_equal(table.labels_NK, one_hot(LABELS))
    np.testing.assert_array_equal(load_images(table, range(6), 1, 8), images(6))


VECTORS = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 1, 1]], dtype=np.int8)  # ant, moth, wolf


@pytest.mark.parametrize("prefix", ["", "label."])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("kind", [int, float, bool])
def test_a_column_for_each_class_is_found_by_name(tmp_path, prefix, suffix, kind):
    columns = {"seed": [3, 1, 2, 0], f"{prefix}wolf": [kind(v) for v in VECTORS[:, 2]]}
    columns["path"] = list(FILES[:4])
    columns |= {f"{prefix}ant": [kind(v) for v in VECTORS[:, 0]]}
    columns |= {f"{prefix}moth": [kind(v) for v in VECTORS[:, 1]]}
    path = tmp_path / f"made.{suffix}"
    if suffix == "csv":
        write_csv(path, list(columns), zip(*columns.values(), strict=True))
    else:
        pq.write_table(pa.table(columns), path)
    table = read_table(ExternalConfig(str(path)), PETS, multi_label=True)
    np.testing.assert_array_equal(table.labels_NK, VECTORS)


def test_numbers_may_be_names_of_classes(tmp_path):
    pq.write_table(pa.table({"path": ["a", "b"], "label": [8, 3]}), tmp_path / "made.parquet")
    write_csv(tmp_path / "made.csv", ["path", "label"], [["a", 8], ["b", 3]])
    for name in ("made.parquet", "made.csv"):
        config = ExternalConfig(str(tmp_path / name), label_column="label")
        np.testing.assert_array_equal(
            read_table(config, ("8", "3"), multi_label=False).labels_NK, [[0, 1], [1, 0]]
        )


def refused(tmp_path, header, rows, message, multi_label=False, **options):
    write_csv(tmp_path / "made.csv", header, rows)
    with pytest.raises(DataError, match=message):
        read_table(ExternalConfig(str(tmp_path / "made.csv"), **options), PETS, multi_label)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (["file", "label"], [["a", "ant"]], "no column 'path': .*allowed: file, label.*image_col"),
        (["path", "labels"], [["a", "ant"]], "no column 'label': did you mean 'labels'"),
        (["path", "label"], [["a", "ant"], ["b", "moths"]], "row 2: 'moths'.*did you mean 'moth'"),
        (["path", "label"], [["a", ""]], "row 1: ''.*is no class"),
        (["path", "label"], [], "lists no image"),
        (["path", "label"], [["a"]], "1 cells in line 2 where its header has 2"),
        (["path", "label", "label"], [["a", "ant", "ant"]], "the column 'label' twice"),
        (["path", "label"], [["a", "ant"], ["./a", "ant"]], "row 2 has the image './a' of row 1"),
        (["path", "label"], [["", "ant"]], r"row 1 \(''\) names no image"),
    ],
)
def test_a_table_of_names_that_does_not_fit_is_refused(tmp_path, header, rows, message):
    refused(tmp_path, header, rows, message, label_column="label")


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (["path", "ant", "wolf"], [["a", 1, 0]], "for the class 'moth' .1 of 3.*label_column"),
        (["path", "ant", "wolf", "moth", "label.ant"], [["a", 1, 0, 0, 1]], "two columns for the"),
        (["path", "ant", "wolf", "moth", "label.moths"], [["a", 1, 0, 0, 0]], "'label.moths', but"),
        (["path", "ant", "wolf", "moth"], [["a", 1, 0, -1]], "row 1: '-1' in the column 'moth'"),
        (["path", "ant", "wolf", "moth"], [["a", 1, 0, ""]], "allowed: 1 and 0"),
        (["path", "ant", "wolf", "moth"], [["a", 1, 0, 0.5]], "allowed: 1 and 0"),
        (["path", "ant", "wolf", "moth"], [["a", 1, 1, 0]], r"row 1 \('a'\) has 2 classes"),
        (["path", "ant", "wolf", "moth"], [["a", 0, 0, 0]], r"row 1 \('a'\) has 0 classes"),
    ],
)
def test_a_table_of_marks_that_does_not_fit_is_refused(tmp_path, header, rows, message):
    refused(tmp_path, header, rows, message)


def test_paths_must_stay_in_the_folder(tmp_path, pets):
    rows = [["../secret.png", "ant"], ["/etc/passwd", "ant"], ["images/../../x", "ant"]]
    rows += [["images/../images/0.png", "ant"]]
    message = r"row 1 \('../secret.png'\) leads out of the folder.*row 3.*\(and 1 more\)"
    refused(tmp_path, ["path", "label"], rows, message, label_column="label")
    inside = tmp_path / "images" / "0.png"
    write_csv(tmp_path / "made.csv", ["path", "label"], [[inside, "ant"]])
    np.testing.assert_array_equal(
        load_images(read_table(pets, PETS, False), [0], 1, 8)[0], picture(0)
    )


def test_a_struct_cannot_lead_out_of_the_folder_either(tmp_path):
    column = struct_of([None, png(0)], ["../out.png", "../harmless name.png"])
    pq.write_table(pa.table({"path": column, "label": ["ant", "ant"]}), tmp_path / "made.parquet")
    config = ExternalConfig(str(tmp_path / "made.parquet"), label_column="label")
    table = read_table(config, PETS, multi_label=False)
    for read in (lambda: load_images(table, [0, 1], 1, 8), lambda: table_digest(config)):
        with pytest.raises(DataError, match=r"1 of 2 images .*'../out.png' leads out"):
            read()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("made.csv", None, "there is no file"),
        ("made.txt", b"path,label\n", r"ends in .csv or .parquet"),
        ("made.csv", b"path,label\n\xff\xfe,ant\n", "cannot read .* as CSV in UTF-8"),
        ("made.csv", b'path,label\n"a,ant\n', "cannot read .* as CSV"),
        ("made.csv", b"", "no column 'path'"),
        ("made.parquet", b"PAR1 or not", "cannot read .* as Parquet"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    for read in (table_digest, lambda config: read_table(config, PETS, False)):
        with pytest.raises(DataError, match=message):
            read(ExternalConfig(str(tmp_path / name), label_column="label"))


def test_a_table_must_be_set():
    with pytest.raises(ConfigError, match=r"generator\.table is not set"):
        read_table(ExternalConfig(), PETS, multi_label=False)


def test_a_column_of_numbers_is_no_column_of_images(tmp_path):
    pq.write_table(pa.table({"path": [1.5], "label": ["ant"]}), tmp_path / "made.parquet")
    config = ExternalConfig(str(tmp_path / "made.parquet"), label_column="label")
    with pytest.raises(DataError, match="'path' is of type double; images are paths"):
        read_table(config, PETS, multi_label=False)


def test_images_that_cannot_be_used_end_in_one_error(pets, tmp_path):
    table = read_table(pets, PETS, multi_label=False)
    (tmp_path / FILES[0]).unlink()
    (tmp_path / FILES[2]).write_bytes(b"no image")
    (tmp_path / FILES[3]).write_bytes(png(0)[:60])
    (tmp_path / FILES[5]).unlink()
    (tmp_path / FILES[5]).mkdir()
    with pytest.raises(
        DataError,
        match=r"4 of 6 images cannot be used: 'images/0.png' cannot be read \(No such file.*"
        r"'images/2.png' is none of PNG.*'images/3.png' cannot be decoded.*\(and 1 more\)",
    ):
        load_images(table, range(6), 1, 8)
    np.testing.assert_array_equal(load_images(table, [1, 4], 1, 8), images(6)[[1, 4]])
    with pytest.raises(DataError, match=r"1 of 6 images are missing: 'images/0.png' cannot be"):
        table_digest(pets)


def saved(image: Image.Image, kind: str = "png", **options) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def table_with(tmp_path, content: bytes, **options):
    path = tmp_path / "one.parquet"
    pq.write_table(pa.table({"path": [content], "label": ["ant"]}), path)
    return read_table(ExternalConfig(str(path), label_column="label", **options), PETS, False)


def test_no_image_is_resized_or_recoloured_unasked(tmp_path):
    large = Image.fromarray(picture(0, size=16, channels=3))
    for options, channels, size, message in (
        ({}, 3, 8, "16 x 16 pixels where the dataset has 8 x 8.*resize=true"),
        ({"convert": True}, 3, 8, "resize=true"),
        ({}, 1, 16, "mode RGB where the dataset has L.*convert=true"),
        ({"resize": True}, 1, 8, "convert=true"),
    ):
        with pytest.raises(DataError, match=message):
            load_images(table_with(tmp_path, saved(large), **options), [0], channels, size)
    both = table_with(tmp_path, saved(large), resize=True, convert=True)
    expected = large.convert("L").resize((8, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(load_images(both, [0], 1, 8)[0, ..., 0], np.asarray(expected))


def test_grey_becomes_rgb_where_that_is_asked_for(tmp_path):
    grey = table_with(tmp_path, png(3), convert=True)
    loaded = load_images(grey, [0], channels=3, size=8)
    np.testing.assert_array_equal(loaded[0], np.repeat(picture(3), 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "P", "1", "LA"])
def test_other_modes_of_eight_bits_can_be_converted(tmp_path, mode):
    image = Image.fromarray(picture(0, channels=3)).convert(mode)
    with pytest.raises(DataError, match=f"Pillow's mode {mode} where the dataset has RGB"):
        load_images(table_with(tmp_path, saved(image)), [0], 3, 8)
    loaded = load_images(table_with(tmp_path, saved(image), convert=True), [0], 3, 8)
    np.testing.assert_array_equal(loaded[0], np.asarray(image.convert("RGB")))


def test_what_conversion_would_spoil_is_refused_all_the_same(tmp_path):
    deep = Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16))
    wide = Image.fromarray(picture(0)[:, :4, 0])
    for image, message in ((deep, "8 bits a channel"), (wide, "4 x 8 pixels; crop it")):
        table = table_with(tmp_path, saved(image), resize=True, convert=True)
        with pytest.raises(DataError, match=message):
            load_images(table, [0], 1, 8)


@pytest.mark.parametrize("kind", ["tiff", "bmp", "ppm", "webp", "jpeg"])
def test_the_usual_formats_are_read(tmp_path, kind):
    image = Image.fromarray(picture(0, channels=3))
    content = saved(image, kind, **({"lossless": True} if kind == "webp" else {}))
    loaded = load_images(table_with(tmp_path, content), [0], 3, 8)[0]
    if kind == "jpeg":
        assert loaded.shape == (8, 8, 3)
    else:
        np.testing.assert_array_equal(loaded, picture(0, channels=3))


def test_a_digest_depends_on_content_and_not_on_places(pets, tmp_path):
    before = table_digest(pets)
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copytree(tmp_path / "images", copy / "images")
    shutil.copy(pets.table, copy / "renamed.csv")
    moved = replace(pets, table=str(copy / "renamed.csv"))
    assert table_digest(moved) == before
    assert identify(moved) == identify(pets) == {"label_column": "label", "content": before}
    split = replace(pets, table=str(copy / "renamed.csv"), folder=str(tmp_path))
    assert identify(split) == identify(pets)

    (copy / FILES[3]).write_bytes(png(99) + b"more")
    assert table_digest(moved) != before
    shutil.copy(tmp_path / FILES[3], copy / FILES[3])
    assert table_digest(moved) == before
    with Path(moved.table).open("a") as file:
        file.write("images/5.png,ant\n")
    assert table_digest(moved) != before


def test_images_inside_a_table_are_digested_whole(tmp_path):
    digests = []
    for number in (0, 1):
        contents = [png(7), png(number)]
        same_length = [c.ljust(200, b"\0") for c in contents]
        pq.write_table(pa.table({"path": same_length}), tmp_path / "made.parquet")
        digests.append(table_digest(ExternalConfig(str(tmp_path / "made.parquet"))))
    assert digests[0] != digests[1]


def test_ids_keep_what_changes_a_result_and_no_statement(pets):
    plain = identify(pets)
    assert identify(replace(pets, declared="Stable Diffusion 1.5, prompts in prompts.txt")) == plain
    for changed in ({"resize": True}, {"convert": True}, {"lineage": "independent"}):
        assert identify(replace(pets, **changed)) == {**plain, **changed}


def test_planning_reads_the_table_without_heavy_libraries(pets):
    code = (
        "import sys\n"
        "from synthtrial.study import Chosen\n"
        "from synthtrial.synthesis.external import EXTERNAL, ExternalConfig\n"
        f"config = ExternalConfig({pets.table!r}, label_column='label')\n"
        "assert set(Chosen(EXTERNAL, config).identity) == "
        "{'name', 'version', 'label_column', 'content'}\n"
        "heavy = {'torch', 'torchvision', 'sklearn', 'scipy', 'pandas', 'PIL', 'ray'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_lineage_is_unknown_unless_it_is_declared(pets):
    (descent,) = lineage_of(pets)
    assert descent.split == "unknown"
    assert lineage_of(replace(pets, lineage="independent")) == ()


def test_each_wanted_label_takes_the_next_image_of_the_table(pets):
    table = read_table(pets, PETS, multi_label=False)
    wanted = ["ant", "moth", "moth", "ant", "wolf"]
    np.testing.assert_array_equal(choose(table, one_hot(wanted), wanted), [2, 0, 3, 4, 1])
    assert choose(table, one_hot([]).reshape(0, 3), []).shape == (0,)


def test_too_few_images_are_counted_by_class(pets):
    table = read_table(pets, PETS, multi_label=False)
    wanted = ["ant"] * 3 + ["moth"] * 3 + ["wolf"] * 2
    with pytest.raises(
        DataError,
        match=r"too few images of 'ant': 3 wanted, 2 there; 'wolf': 2 wanted, 1 there. Add images",
    ):
        choose(table, one_hot(wanted), np.array(wanted, dtype=object))


@pytest.fixture
def several(tmp_path):
    """Images of several classes; columns ant, moth, wolf."""
    vectors = [[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1], [1, 0, 0], [0, 0, 0]]
    write_csv(
        tmp_path / "several.csv",
        ["path", "label.ant", "label.moth", "label.wolf"],
        [[name, *vector] for name, vector in zip(FILES, vectors, strict=True)],
    )
    return read_table(ExternalConfig(str(tmp_path / "several.csv")), PETS, multi_label=True)


def test_equal_vectors_come_before_rows_that_only_hold_the_class(several):
    # The third finds no equal row left, and row 0 must not have been given to it before the fourth.
    wanted = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0]])
    intended = ["ant", "ant", "ant", "moth"]
    np.testing.assert_array_equal(choose(several, wanted, intended), [1, 4, 3, 0])


def test_an_ignored_label_counts_as_absent(several):
    np.testing.assert_array_equal(choose(several, np.array([[1, -1, 0]]), ["ant"]), [1])


def test_images_that_went_to_other_classes_are_said(several):
    wanted = np.array([[0, 1, 1], [1, 1, 1], [0, 0, 1]])
    with pytest.raises(
        DataError, match=r"'wolf': 1 wanted, 2 there \(2 of them taken for other classes\)"
    ):
        choose(several, wanted, ["moth", "ant", "wolf"])


def test_vectors_of_other_classes_are_refused(several):
    with pytest.raises(DataError, match=r"label vectors of shape \(1, 2\).*ant, moth, wolf"):
        choose(several, np.array([[1, 0]]), ["ant"])
    with pytest.raises(DataError, match="no class 'bee'"):
        choose(several, np.array([[1, 0, 0]]), ["bee"])
