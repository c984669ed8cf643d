"""lines: a text file read as UTF-8, line by line; another encoding is refused with its place and its likely name."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path

from modelcommons.errors import DataError

BLOCK = 4 * 2**20  # bytes read at a time
LONGEST_LINE = 64 * 2**20  # bytes

MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"),  # before UTF-16, whose mark they begin with
    (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"),
)  # fmt: skip

# first bytes -> what people hand in under the name of a text file
FOREIGN = (
    (b"\x89PNG", "a PNG picture"), (b"\xff\xd8\xff", "a JPEG picture"), (b"PAR1", "a Parquet file"),
    (b"PK\3\4", "a zip file, as Excel writes"), (b"\xd0\xcf\x11\xe0", "an old Excel file"), (b"%PDF", "a PDF file"),
    (b"\x1f\x8b", "a gzip file"), (b"SQLite format 3\0", "an SQLite database"),
)  # fmt: skip


def lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file (with or without a byte order mark), line ends kept.

    Raises:
        DataError: the file is not UTF-8, or not text; the message names line and byte, and how to convert it.
    """
    with path.open("rb") as file:
        number, rest, foreign = 0, b"", False  # lines before this block; its bytes so far; non-ASCII UTF-8 was seen
        while block := file.read(BLOCK):
            if not number and not rest:
                block = _without_mark(path, block)
            block = rest + block
            cut = block.rfind(b"\n") + 1
            if not cut and len(block) > LONGEST_LINE:
                raise DataError(f"{path.name}:{number + 1} is longer than {LONGEST_LINE >> 20} MiB. Expected lines.")
            text = _decode(path, block[:cut], number, foreign)
            yield from io.StringIO(text, newline="\n")
            number, rest, foreign = number + text.count("\n"), block[cut:], foreign or not text.isascii()
        if rest:
            yield from io.StringIO(_decode(path, rest, number, foreign), newline="\n")


def _without_mark(path: Path, block: bytes) -> bytes:
    for mark, encoding in MARKS:
        if block.startswith(mark):
            raise DataError(f"{path.name}:1 begins with the mark of {encoding}, expected UTF-8. {_convert(encoding)}")
    for start, kind in FOREIGN:
        if block.startswith(start):
            raise DataError(f"{path.name} is {kind}, expected UTF-8 text. Unpack it, or save its table as CSV.")
    return block.removeprefix(codecs.BOM_UTF8)


def _decode(path: Path, raw: bytes, number: int, foreign: bool) -> str:
    """`raw` as text; `number` lines come before it, some of them with non-ASCII UTF-8 if `foreign`."""
    nul = raw.find(b"\0")
    if nul >= 0:
        line = number + raw.count(b"\n", 0, nul) + 1
        wide = nul % 2 == 1 and raw[: nul + 1].count(b"\0") == (nul + 1) // 2
        advice = _convert("UTF-16LE") if wide else "Remove it, or write the file again as UTF-8 text."
        raise DataError(f"{path.name}:{line} holds a NUL byte, expected UTF-8 text. {advice}")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, raw, error.start, number, foreign) from None


def _not_utf8(path: Path, raw: bytes, at: int, number: int, foreign: bool) -> DataError:
    start = raw.rfind(b"\n", 0, at) + 1
    end = raw.find(b"\n", at)
    line = raw[start : end if end >= 0 else len(raw)]
    number += raw.count(b"\n", 0, at) + 1
    place = f"{path.name}:{number}, byte {at - start + 1}"
    encoding = guess(line)
    if foreign or _has_utf8(raw[:start]) or _has_utf8(raw[start + len(line) :]):
        return DataError(
            f"{place} is not UTF-8 (it looks like {encoding}), while other lines are: the file mixes encodings. "
            "Convert its parts to UTF-8 one by one, then join them."
        )
    return DataError(f"{place} is not UTF-8; it looks like {encoding}. {_convert(encoding)}")


def guess(line: bytes) -> str:
    """The likely encoding of a line that is not UTF-8: Chinese characters are pairs of high bytes, accents alone."""
    runs = re.findall(rb"[\x80-\xff]+", line)
    if runs and all(len(run) % 2 == 0 for run in runs):
        try:
            line.decode("gb18030")
        except UnicodeDecodeError:
            pass
        else:
            return "GB18030"
    return "Windows-1252"


def _has_utf8(raw: bytes) -> bool:
    """Whether some whole line holds a character beyond ASCII and is UTF-8."""
    for line in re.findall(rb"[^\n]*[\x80-\xff][^\n]*", raw[:65536])[:100]:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            continue
        return True
    return False


def _convert(encoding: str) -> str:
    return f"Convert it: iconv -f {encoding} -t UTF-8 OLD > NEW."
