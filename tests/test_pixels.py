"""pixels: a picture lies as its EXIF data say, wherever in the file they stand."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelcommons.formats import preprocess
from modelcommons.formats.pixels import Shape, native, opened, pixels, upright_size

WIDE = np.arange(2 * 3, dtype=np.uint8).reshape(2, 3) * 40  # height 2, width 3


def turned(format: str) -> bytes:
    """WIDE, said to be turned by a quarter."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(WIDE).save(file, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    return file.getvalue()


def with_exif_last(png: bytes) -> bytes:
    """The same file, its eXIf chunk behind the pixels, where the format allows it too."""
    chunks, at = [], 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        chunks.append(png[at : at + 12 + size])
        at += 12 + size
    chunks.sort(key=lambda chunk: {b"eXIf": 1, b"IEND": 2}.get(chunk[4:8], 0))
    return png[:8] + b"".join(chunks)


def with_words(png: bytes) -> bytes:
    """WIDE with its turn in XMP, which is text."""
    words = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    body = b"iTXt" + b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + words
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]  # behind the header


def plain() -> bytes:
    file = io.BytesIO()
    Image.fromarray(WIDE).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "value",
    [turned("JPEG"), turned("PNG"), with_exif_last(turned("PNG")), with_words(plain()), turned("WEBP")],
    ids=["jpeg", "png", "png-exif-last", "png-xmp", "webp"],
)
def test_a_turned_picture_is_upright(value: Any) -> None:
    assert upright_size(opened(value)) == (3, 2)
    assert native(value).shape[:2] == (3, 2)
    exact = pixels(value, Shape(3, 2, 1))[..., 0]
    if not value.startswith(b"\xff\xd8"):  # JPEG is not exact
        assert np.abs(exact.astype(int) - np.rot90(WIDE, -1).astype(int)).max() <= 2


def test_a_plain_picture_lies_as_it_is() -> None:
    assert upright_size(opened(plain())) == (2, 3)
    assert np.array_equal(native(plain())[..., 0], WIDE)


def test_pictures_are_measured_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocess, "AT_ONCE", 7 * 8 * 8 * 3)
    pictures = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    asked: list[int] = []

    def some(indices: np.ndarray) -> np.ndarray:
        asked.append(len(indices))
        return pictures[indices]

    found = preprocess.measured(some, len(pictures))
    assert max(asked) == 7 and sum(asked) == 40 + 1  # and the first, for the shape
    assert found.mean == pytest.approx(pictures.mean((0, 1, 2)) / 255, abs=1e-6)
    assert found.std == pytest.approx(pictures.std((0, 1, 2)) / 255, abs=1e-6)
