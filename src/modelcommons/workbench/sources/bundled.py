"""`bundled:NAME`: real data that comes inside installed packages, written out once as plain files.

The files are made so that their bytes depend on the package's data alone, not on the version of a writer library: a
receipt for `bundled:digits` can be checked on another machine.
"""

from __future__ import annotations

import binascii
import csv
import difflib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelcommons.errors import MissingPackage, NotFound
from modelcommons.formats.cache import cache_folder
from modelcommons.workbench.sources import digit_scenes, listing, morse, python_docs, python_imports, tunes
from modelcommons.workbench.task import Source

Files = Iterator[tuple[str, bytes]]  # path, content


@dataclass(frozen=True, slots=True)
class Bundled:
    package: str  # whose version is the revision; "" for Python itself
    licence: str
    homepage: str
    notes: str
    files: Callable[[], Files]


def find(name: str) -> Source:
    """A bundled data set, written into the cache when it is asked for first.

    Raises:
        NotFound: there is none of this name; the message lists them.
        MissingPackage: the package that holds it is not installed.
    """
    if name not in SETS:
        near = difflib.get_close_matches(name, SETS, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(SETS)}."
        raise NotFound(f"There is no bundled data '{name}'. {hint}")
    bundled = SETS[name]
    revision = f"{bundled.package}=={_version(bundled.package)}"
    folder = cache_folder("bundled") / f"{name}-{revision.replace('==', '-')}"
    if not folder.is_dir():
        _write(folder, bundled.files())
    chosen = listing.choose(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files, sha256 = listing.digested(folder, chosen, name)
    return Source(f"bundled:{name}", folder, files, sha256, revision, bundled.licence, bundled.homepage, bundled.notes)


def _version(package: str) -> str:
    if package == "python":
        return platform.python_version()
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise MissingPackage(f"This bundled data comes with '{package}'. Install it: pip install {package}.") from None


def _write(folder: Path, files: Files) -> None:
    """All files or none: an interrupted writing leaves only a temporary folder."""
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for path, content in files:
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            (part / path).write_bytes(content)
        os.rename(part, folder)
    except OSError:
        if not folder.is_dir():  # another process was quicker
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


# --- scikit-learn ---------------------------------------------------------------------------------------------------


def _digits() -> Files:
    for number, (grey, label) in enumerate(zip(*_grey_digits(), strict=True)):
        yield f"{label}/{number:04}.png", _png(grey)


def _digit_scenes() -> Files:
    return digit_scenes.scenes(*_grey_digits(), _png)


def _grey_digits() -> tuple[list[list[list[int]]], list[int]]:
    """Grey values from 0 to 255, and which digits they show."""
    from sklearn.datasets import load_digits

    found = load_digits()
    grey = [[[int(value) * 255 // 16 for value in row] for row in image] for image in found.images]  # 0..16 -> 0..255
    return grey, found.target.tolist()


def _png(grey: Sequence[Sequence[int]]) -> bytes:
    """An 8-bit grey PNG whose pixels are stored, not compressed: the same bytes with any zlib.

    Source: PNG (Third Edition), W3C Recommendation, sections 5.3, 9.2 and 11.2.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", binascii.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(grey[0]), len(grey), 8, 0, 0, 0, 0)
    pixels = b"".join(b"\0" + bytes(row) for row in grey)  # each line begins with its filter: none
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels, 0)) + chunk(b"IEND", b"")
    )


def _measurements(loader: str) -> Callable[[], Files]:
    """A scikit-learn table: one column per measurement, and the name of the class in `label`."""

    def files() -> Files:
        import sklearn.datasets

        found = getattr(sklearn.datasets, loader)()
        header = [*(str(name).removesuffix(" (cm)") for name in found.feature_names), "label"]
        rows = ([*map(float, x), str(found.target_names[y])] for x, y in zip(found.data, found.target, strict=True))
        yield "data.csv", _csv(header, rows)

    return files


def _diabetes() -> Files:
    """Units as measured, not scikit-learn's scaled ones."""
    from sklearn.datasets import load_diabetes

    found = load_diabetes(scaled=False)
    rows = ([*map(float, x), float(y)] for x, y in zip(found.data, found.target, strict=True))
    yield "data.csv", _csv([*map(str, found.feature_names), "progression"], rows)


# --- statsmodels ----------------------------------------------------------------------------------------------------


def _series(name: str, convert: Callable[[list[dict[str, str]]], Iterator[list[str]]], header: Sequence[str]) -> Any:
    """A statsmodels series with ISO dates; a missing value stays an empty cell."""

    def files() -> Files:
        found = importlib.util.find_spec("statsmodels")  # finding it does not import it, which would take seconds
        assert found is not None and found.submodule_search_locations
        path = Path(found.submodule_search_locations[0], "datasets", name, f"{name}.csv")
        with path.open(encoding="utf-8", newline="") as file:
            yield f"{name}.csv", _csv(header, convert(list(csv.DictReader(file))))

    return files


def _yearly(time: str, value: str) -> Callable[[list[dict[str, str]]], Iterator[list[str]]]:
    return lambda rows: ([f"{int(float(row[time])):04}-01-01", row[value]] for row in rows)


def _co2(rows: list[dict[str, str]]) -> Iterator[list[str]]:
    for row in rows:
        day = row["date"]
        yield [f"{day[:4]}-{day[4:6]}-{day[6:]}", row["co2"]]


def _elnino(rows: list[dict[str, str]]) -> Iterator[list[str]]:
    for row in rows:
        year, *months = row.values()
        for month, value in enumerate(months, 1):
            yield [f"{int(float(year)):04}-{month:02}-01", value]


MACRO = (
    "realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1", "tbilrate", "unemp", "pop", "infl", "realint",
)  # fmt: skip


def _macro(rows: list[dict[str, str]]) -> Iterator[list[str]]:
    for row in rows:
        month = 3 * int(float(row["quarter"])) - 2
        yield [f"{int(float(row['year'])):04}-{month:02}-01", *(row[name] for name in MACRO)]


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


# --- Python ---------------------------------------------------------------------------------------------------------


def _python_docs() -> Files:
    lines = (json.dumps(paragraph, ensure_ascii=False) + "\n" for paragraph in python_docs.paragraphs())
    yield "paragraphs.jsonl", "".join(lines).encode()


def _python_imports() -> Files:
    yield "imports.csv", _csv(("user", "item", "time"), python_imports.imports())


UCI = "https://archive.ics.uci.edu/dataset/"
SM = "https://www.statsmodels.org/stable/datasets/generated/"
PUBLIC = "LicenseRef-public-domain"
SAYS_PUBLIC = "statsmodels states: this is public domain."

SETS: dict[str, Bundled] = {
    "digits": Bundled(
        "scikit-learn", "CC-BY-4.0", f"{UCI}80", "Handwritten digits, 8x8; E. Alpaydin and C. Kaynak, UCI.", _digits
    ),
    "breast-cancer": Bundled(
        "scikit-learn", "CC-BY-4.0", f"{UCI}17", "W. Wolberg and others, UCI.", _measurements("load_breast_cancer")
    ),
    "wine": Bundled(
        "scikit-learn", "CC-BY-4.0", f"{UCI}109", "S. Aeberhard and M. Forina, UCI.", _measurements("load_wine")
    ),
    "iris": Bundled("scikit-learn", "CC-BY-4.0", f"{UCI}53", "R. A. Fisher, UCI.", _measurements("load_iris")),
    "diabetes": Bundled(
        "scikit-learn", "BSD-3-Clause", "https://www4.stat.ncsu.edu/~boos/var.select/diabetes.html",
        "B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, Least Angle Regression, 2004; comes with scikit-learn, "
        "whose licence this is.", _diabetes,
    ),
    "digit-scenes": Bundled(
        "scikit-learn", "CC-BY-4.0", f"{UCI}80", "The digits of `digits`, one to six of them laid out on a picture.",
        _digit_scenes,
    ),
    "sunspots": Bundled(
        "statsmodels", PUBLIC, f"{SM}sunspots.html", SAYS_PUBLIC,
        _series("sunspots", _yearly("YEAR", "SUNACTIVITY"), ("date", "sunspots")),
    ),
    "co2": Bundled(
        "statsmodels", PUBLIC, f"{SM}co2.html", SAYS_PUBLIC, _series("co2", _co2, ("date", "co2"))
    ),
    "nile": Bundled(
        "statsmodels", PUBLIC, f"{SM}nile.html", SAYS_PUBLIC,
        _series("nile", _yearly("year", "volume"), ("date", "volume")),
    ),
    "elnino": Bundled(
        "statsmodels", PUBLIC, f"{SM}elnino.html", SAYS_PUBLIC, _series("elnino", _elnino, ("date", "temperature"))
    ),
    "macrodata": Bundled(
        "statsmodels", PUBLIC, f"{SM}macrodata.html", SAYS_PUBLIC, _series("macrodata", _macro, ("date", *MACRO))
    ),
    "python-docs": Bundled(
        "python", "PSF-2.0", "https://docs.python.org/3/", "Python Software Foundation.", _python_docs
    ),
    "python-imports": Bundled(
        "python", "PSF-2.0", "https://docs.python.org/3/library/",
        "Which modules the files of Python's library import; the files are the users.", _python_imports,
    ),
    "morse": Bundled(
        "python", "CC0-1.0", "https://www.itu.int/rec/R-REC-M.1677",
        "Made, not recorded: the letters and figures of Morse code at any speed and pitch, in noise.",
        morse.recordings,
    ),
    "morse-messages": Bundled(
        "python", "CC0-1.0", "https://www.itu.int/rec/R-REC-M.1677", "Made as `morse`: one or two words each.",
        morse.messages,
    ),
    "tunes": Bundled(
        "python", "CC0-1.0", "https://docs.python.org/3/library/wave.html",
        "Made, not recorded: bars of a few notes, each as long as the next, played by a flute and a reed.", tunes.tunes,
    ),
}  # fmt: skip
