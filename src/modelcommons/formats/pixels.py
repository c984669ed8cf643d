"""pixels: a picture file's bytes as an array; what is broken, or would unpack to too much, is refused.

The messages of errors here are clauses that name no file: the caller knows its place.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")  # no others: some of Pillow's readers start programs
MOST_PIXELS = 50_000_000  # of one picture; a small file can unpack to more memory than there is
MOST_BYTES = 64 * 2**20
BROKEN = (OSError, ValueError, SyntaxError, EOFError, OverflowError, struct.error)  # what Pillow raises on bad bytes
SAYING = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # chunks of PNG in which a picture can be said to lie on its side
GRAY_MODES = ("1", "L", "LA", "I;16")


@dataclass(frozen=True, slots=True)
class Shape:
    """What all pictures of a model have in common."""

    height: int
    width: int
    channels: int  # 1 gray, 3 red, green, blue

    @property
    def dimensions(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels


def opened(value: Any) -> Image:
    """A picture from bytes, a path, an array (height, width) or (height, width, 1 or 3) of bytes, or a PIL image.

    Only its header is read.

    Raises:
        DataError: it is no picture, or too large a one.
    """
    from PIL import Image

    if isinstance(value, Image.Image):
        return value
    if isinstance(value, np.ndarray):
        array = _checked(value)
        return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    if not isinstance(value, bytes):
        value = _read(Path(value))
    try:
        picture = Image.open(io.BytesIO(value), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"expected at most {MOST_PIXELS:,} pixels, got many more") from None
    except BROKEN:
        raise DataError(f"expected a picture ({', '.join(FORMATS)}), got other bytes") from None
    if picture.width * picture.height > MOST_PIXELS:
        raise DataError(f"expected at most {MOST_PIXELS:,} pixels, got {picture.width:,} x {picture.height:,}")
    return picture


def pixels(value: Any, shape: Shape) -> np.ndarray:
    """The picture in this shape, uint8 (height, width, channels); turned upright as its EXIF data say, then resized.

    Raises:
        DataError: see `opened`; or its bytes are cut off or corrupt.
    """
    from PIL import Image, ImageOps

    picture = opened(value)
    try:
        picture = ImageOps.exif_transpose(picture)
        picture = picture.convert("L" if shape.channels == 1 else "RGB")
    except BROKEN as error:
        raise not_whole(error) from None
    if picture.size != (shape.width, shape.height):
        picture = picture.resize((shape.width, shape.height), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.uint8).reshape(shape.dimensions)


def native(value: Any) -> np.ndarray:
    """The picture in its own size and colours, uint8 (height, width, 1 or 3); of an array no copy."""
    if isinstance(value, np.ndarray):
        return _checked(value)
    picture = opened(value)
    height, width = upright_size(picture)
    return pixels(picture, Shape(height, width, 1 if picture.mode in GRAY_MODES else 3))


def upright_size(picture: Image) -> tuple[int, int]:
    """Height and width after turning it as its EXIF data say.

    Raises:
        DataError: its bytes are cut off or corrupt.
    """
    try:
        turned = _may_be_turned(picture) and picture.getexif().get(0x0112, 1) >= 5  # 5 to 8 swap height and width
    except BROKEN as error:  # in a PNG file it may stand after the pixels
        raise not_whole(error) from None
    return (picture.width, picture.height) if turned else (picture.height, picture.width)


def _may_be_turned(picture: Image) -> bool:
    """False for a PNG file in memory that says nothing but pixels: Pillow would decode all of them to be sure."""
    file = getattr(picture, "fp", None)
    if picture.format != "PNG" or not isinstance(file, io.BytesIO):
        return True
    return any(chunk in file.getvalue() for chunk in SAYING)


def not_whole(error: Exception) -> DataError:
    return DataError(f"expected a whole picture, got one that is cut off or corrupt ({error})")


def _checked(value: np.ndarray) -> np.ndarray:
    """An array of pixels, (height, width, 1 or 3)."""
    array = np.asarray(value[:, :, None] if value.ndim == 2 else value)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3):
        raise DataError(
            f"expected uint8 of shape (height, width) or (height, width, 1 or 3), got {value.dtype} {value.shape}"
        )
    return array


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"expected a file of at most {MOST_BYTES >> 20} MiB, got a larger one")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"expected a picture file, got none that can be read ({error.strerror})") from None
