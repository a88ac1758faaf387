"""Inside an image shard: its rows, its schema, and the encoding of images."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthtrial.errors import DataError

PREFIX = "label."
ROW_GROUP_BYTES = 16 * 2**20
_LABELS = (1, 0, -1, None)
_SYNTHETIC_COLUMNS = ("intended", "generator", "latent_index", "source_id")

UInt8Array = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, eq=False)
class ImageRow:
    """One image of a shard.

    Attributes:
        sample_id: unique within the artifact.
        group_id: patient, writer, place, ...; None where the dataset does not say.
        image_HWC: uint8, one or three channels.
        labels: 1, 0, -1 (uncertain) or None by class name; an absent class counts as None.
        intended: class that a synthetic image was made for.
        generator: id of the generator that made it.
        latent_index: number of its latent in the allocation's order.
        source_id: real sample whose label vector it was given.
    """

    sample_id: str
    group_id: str | None
    image_HWC: UInt8Array
    labels: Mapping[str, int | None]
    intended: str | None = None
    generator: str | None = None
    latent_index: int | None = None
    source_id: str | None = None


def shard_schema(classes: Sequence[str], *, synthetic: bool) -> pa.Schema:
    """Return a shard's schema, with the key that shows images as images in ``datasets``."""
    fields = [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string()),
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        *(pa.field(f"{PREFIX}{name}", pa.int8()) for name in classes),
    ]
    if synthetic:
        kinds = (pa.string(), pa.string(), pa.int64(), pa.string())
        fields += [pa.field(n, kind) for n, kind in zip(_SYNTHETIC_COLUMNS, kinds, strict=True)]
    features = {
        item.name: {"_type": "Image"}
        if item.name == "image"
        else {"dtype": str(item.type), "_type": "Value"}
        for item in fields
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(fields, metadata)


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Start a Parquet file of an artifact: an image shard where the schema has images."""
    if "image" not in schema.names:
        return pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)
    compressed = {f.name: "zstd" for f in schema if f.name != "image"}
    texts = [n for n in ("group_id", "intended", "generator") if n in schema.names]
    return pq.ParquetWriter(
        path,
        schema,
        compression={**compressed, "image.bytes": "none", "image.path": "zstd"},
        use_dictionary=texts,
        write_statistics=list(compressed),
        write_page_checksum=True,
    )


@dataclass
class RowGroup:
    """Checks rows, encodes their images and keeps them until they make a row group."""

    classes: tuple[str, ...]
    synthetic: bool
    size: int = 0  # of its encoded images, in bytes
    shape: tuple[int, ...] | None = None
    ids: set[str] = field(default_factory=set)
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) or not self.classes:
            raise DataError(f"class names must be distinct and at least one: {self.classes}")
        self.schema = shard_schema(self.classes, synthetic=self.synthetic)
        self.columns = {name: [] for name in self.schema.names}

    def open(self, path: Path) -> pq.ParquetWriter:
        """Start a shard."""
        return open_writer(path, self.schema)

    def add(self, row: ImageRow, png: bytes) -> int:
        """Take a row and its encoded image; return the bytes of that."""
        values: dict[str, Any] = {
            "sample_id": row.sample_id,
            "group_id": row.group_id,
            "image": {"bytes": png, "path": f"{row.sample_id}.png"},
        }
        labels = {name: row.labels.get(name) for name in self.classes}
        values |= {f"{PREFIX}{n}": None if v is None else int(v) for n, v in labels.items()}
        if self.synthetic:
            values |= {name: getattr(row, name) for name in _SYNTHETIC_COLUMNS}
        for name, value in values.items():
            self.columns[name].append(value)
        self.size += len(png)
        return len(png)

    def flush(self, writer: pq.ParquetWriter) -> None:
        """Write the rows taken so far as one row group."""
        if self.columns["sample_id"]:
            count = len(self.columns["sample_id"])
            table = pa.table(self.columns, schema=self.schema)
            writer.write_table(table, row_group_size=count)
        self.columns = {name: [] for name in self.schema.names}
        self.size = 0

    def check(self, row: ImageRow) -> None:
        """Refuse a row that would spoil the shard.

        Raises:
            DataError: image type or shape, label, class name, or a repeated id.
        """
        image, name = row.image_HWC, row.sample_id
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
            raise DataError(
                f"image {name!r} is {image.dtype} of shape {image.shape}; allowed: uint8 of shape "
                "(height, width, 1 or 3)."
            )
        self.shape = self.shape or image.shape
        if image.shape != self.shape:
            raise DataError(
                f"image {name!r} has shape {image.shape} where others have {self.shape}; all images"
                " of a dataset need one shape: resize them in the dataset's `samples()`."
            )
        if name in self.ids:
            raise DataError(f"two images are called {name!r}; sample ids must be distinct.")
        self.ids.add(name)
        unknown = sorted(set(row.labels) - set(self.classes))
        if unknown:
            raise DataError(
                f"image {name!r} has a label for {unknown}. Classes: {', '.join(self.classes)}."
            )
        bad = {key: value for key, value in row.labels.items() if value not in _LABELS}
        if bad:
            raise DataError(f"image {name!r} has labels {bad}; allowed: 1, 0, -1 and None.")


def encode_png(image_HWC: UInt8Array) -> bytes:
    """Return an image as PNG, compression level 1 (fast; the size hardly differs)."""
    from PIL import Image

    pixels = image_HWC[:, :, 0] if image_HWC.shape[2] == 1 else image_HWC
    target = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(target, "png", compress_level=1)
    return target.getvalue()


def decode_png(content: bytes) -> UInt8Array:
    """Return an encoded image as uint8 of shape (channels, height, width)."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
