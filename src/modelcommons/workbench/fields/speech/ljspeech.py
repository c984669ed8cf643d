"""ljspeech: the layout of LJ Speech: `metadata.csv` without a header, `name|text|normalised text`, beside `wavs/`."""

from __future__ import annotations

from pathlib import Path

from modelcommons.errors import DataError
from modelcommons.formats.columns import LINE, SHOWN, BadLine, Columns
from modelcommons.formats.tables import Source, Table

METADATA, FOLDER = "metadata.csv", "wavs"


def read_layout(source: Source) -> dict[str, Table] | None:
    """Its one table, with the columns `audio` (paths) and `text` (the last field of a line); None where data lie
    otherwise.

    Raises:
        DataError: the file is not UTF-8, or none of its lines can be read.
    """
    paths = [file.path for file in source.files if Path(file.path).name == METADATA]
    if len(paths) != 1 or len(source.files) != 1 or not _is_layout(source.folder / paths[0]):
        return None
    return {"all": Table([_columns(source.folder / paths[0], paths[0])])}


def _is_layout(path: Path) -> bool:
    """Whether the first line begins with the name of a recording."""
    with path.open("rb") as file:
        name, bar, _ = file.readline(10_000).partition(b"|")
    return bool(bar) and (path.parent / FOLDER / f"{name.decode('utf-8', 'replace').strip()}.wav").is_file()


def _columns(path: Path, name: str) -> Columns:
    import pyarrow as pa

    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 ({error.reason}). Save it as UTF-8.") from None
    found: list[tuple[str, str, int]] = []
    bad: list[BadLine] = []
    for number, line in enumerate(lines, 1):
        fields = line.rstrip("\r").split("|")  # quotes in the texts are quotes
        if len(fields) in (2, 3):
            found.append((f"{FOLDER}/{fields[0].strip()}.wav", fields[-1].strip(), number))
        elif line.strip():
            bad.append(BadLine(f"{name}:{number}", f"{len(fields)} fields, expected 2 or 3"))
    if not found:
        raise DataError(f"Expected lines of name|text or name|text|text in {name}, found none.")
    audio, texts, numbers = zip(*found, strict=True)
    data = pa.table({"audio": pa.array(audio), "text": pa.array(texts), LINE: pa.array(numbers, pa.int64())})
    return Columns(name, data, {"audio": "text", "text": "text"}, {}, tuple(bad[:SHOWN]), len(bad))
