"""safetensors: the header of a weight file checked before anything loads it, and the pickle family kept out.

Source: the format section of the safetensors README: 8 bytes little-endian header length, a JSON header, then one
buffer that the tensors fill without gaps or overlap.
"""

from __future__ import annotations

import json
import math
import pickletools
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelcommons.errors import FormatError, UnsafeFile

LARGEST_HEADER = 16 * 2**20  # bytes
MOST_DIMENSIONS = 32

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip

# endings of files that loaders unpickle, or run code from
PICKLES = (
    ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz", ".h5", ".keras", ".nemo",
    ".mar",
)  # fmt: skip
# how a pickle of protocol 0 or 1, which has no mark of its own, names what it will call; a word list may look like it
OLD_PICKLE = re.compile(rb"[(\]}lpd0-9\s]{0,16}[ci][\w.]+\n[\w.]+\n")


@dataclass(frozen=True, slots=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]
    start: int  # bytes from the beginning of the buffer
    end: int

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    @property
    def num_parameters(self) -> int:
        return sum(tensor.num_elements for tensor in self.tensors.values())


def check(path: Path) -> Header:
    """The header of a safetensors file whose sizes all agree. Reads the header only.

    Raises:
        UnsafeFile: it is a pickle under another name.
        FormatError: it is cut off, or the header contradicts the file; the message has the numbers.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(64)
        if is_pickle(path, start):
            raise UnsafeFile(f"{path.name} is a pickle under the name of safetensors; loading it could run code. {HOW}")
        length = int.from_bytes(start[:8], "little")
        if size < 10 or start[8:9] != b"{":
            raise FormatError(
                f"{path.name} is no safetensors file: expected a JSON header after 8 bytes. Get it again."
            )
        if length > LARGEST_HEADER:
            raise FormatError(
                f"{path.name}: expected a header of at most {LARGEST_HEADER:,} bytes, it claims {length:,}."
            )
        if length > size - 8:
            raise FormatError(f"{path.name} is cut off: its header needs {length + 8:,} bytes, the file has {size:,}.")
        file.seek(8)
        return parse(file.read(length), path.name, size)


def parse(raw: bytes, name: str, size: int) -> Header:
    """The JSON header of a file of `size` bytes, without the 8 bytes before it; the same errors as `check`."""
    header = _parsed(raw, name)
    promised = 8 + len(raw) + max((tensor.end for tensor in header.tensors.values()), default=0)
    if promised != size:
        state = "is cut off" if size < promised else "has bytes after its end"
        raise FormatError(f"{name} {state}: its header promises {promised:,} bytes, the file has {size:,}.")
    return header


def _parsed(raw: bytes, name: str) -> Header:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise FormatError(f"{name}: the header names a tensor twice. Get the file again.")
        return found

    try:
        values = json.loads(raw, object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise FormatError(f"{name}: the header is not JSON. Get the file again.") from None
    if not isinstance(values, dict):
        raise FormatError(f"{name}: expected a header that is a JSON object. Get the file again.")
    metadata = values.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError(f"{name}: expected words in the header's __metadata__. Get the file again.")
    tensors = {key: _tensor(value, f"{name}: tensor '{key}'") for key, value in values.items()}
    position = 0
    for key, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != position:
            fault = "overlaps the one before it" if tensor.start < position else "leaves a gap before it"
            raise FormatError(
                f"{name}: tensor '{key}' {fault}: expected it at byte {position:,}, not {tensor.start:,}."
            )
        position = tensor.end
    return Header(tensors, metadata)


def _tensor(value: Any, place: str) -> Tensor:
    match value:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(end)]} if len(value) == 3:
            pass
        case _:
            raise FormatError(f"{place}: expected dtype, shape and two data_offsets. Get the file again.")
    if dtype not in BITS:
        raise FormatError(f"{place}: '{dtype}' is no number format of safetensors. Known: {', '.join(BITS)}.")
    if len(shape) > MOST_DIMENSIONS or not all(type(length) is int and length >= 0 for length in shape):
        raise FormatError(f"{place}: expected a shape of at most {MOST_DIMENSIONS} whole numbers, got {shape!r:.80}.")
    bits = math.prod(shape) * BITS[dtype]
    if start < 0 or (end - start) * 8 != bits:
        raise FormatError(
            f"{place}: {dtype} of shape {shape} needs {bits // 8:,} bytes, its offsets give {end - start:,}."
        )
    return Tensor(dtype, tuple(shape), start, end)


# --- pickles --------------------------------------------------------------------------------------------------------

HOW = "Ask for safetensors, or convert it yourself where you trust it: safetensors.torch.save_file(weights, PATH)."


def refuse_pickles(folder: Path) -> None:
    """Nothing in a model folder may need unpickling. Pickles beside safetensors weights are never opened, so they pass.

    Raises:
        UnsafeFile: the weights are there as a pickle only, or a file hides one under a harmless name.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    has_weights = any(path.suffix == ".safetensors" for path in files)
    for path in files:
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() in PICKLES:
            if not has_weights:
                raise UnsafeFile(f"{name} is a pickle; loading it could run code, so it is never loaded. {HOW}")
        elif is_pickle(path):
            raise UnsafeFile(f"{name} holds a pickle under a harmless name; loading it could run code. {HOW}")


def is_pickle(path: Path, start: bytes | None = None) -> bool:
    """Whether the content is a pickle or a zip that torch would unpickle, whatever the name says. Runs nothing."""
    if start is None:
        with path.open("rb") as file:
            start = file.read(64)
    if start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5" and start[8:9] != b"{":
        return True
    if start.startswith(b"PK\3\4"):
        try:
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(".pkl") for name in archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError):
            return True  # a zip that cannot be listed is nothing to load
    return OLD_PICKLE.match(start) is not None and _parses(path)


def may_run_code(name: str, start: bytes) -> bool:
    """A label for people, from a file's name and its first kilobytes: whether a loader might run code from it.

    Cautious, and no proof of the opposite: a zip whose pickle comes late passes. What loads files asks `is_pickle`.
    """
    if name.lower().endswith(PICKLES):
        return True
    if start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5") and start[8:9] != b"{":
        return True
    if start.startswith(b"PK\3\4"):
        return b".pkl" in start
    if OLD_PICKLE.match(start) is None:
        return False
    try:
        return any(instruction.name == "STOP" for instruction, _, _ in pickletools.genops(start))
    except (ValueError, UnicodeDecodeError, EOFError) as error:
        return "exhausted" in str(error)  # instructions up to where we stopped reading


def _parses(path: Path) -> bool:
    """Whether the file reads as pickle instructions up to their end; they are listed, not followed."""
    with path.open("rb") as file:
        try:
            return any(instruction.name == "STOP" for instruction, _, _ in pickletools.genops(file))
        except (ValueError, UnicodeDecodeError, EOFError):
            return False
