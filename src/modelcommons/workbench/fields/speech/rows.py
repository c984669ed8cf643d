"""rows of recordings: Parquet with the bytes, folders named by class, a table with a column of paths, or LJ Speech's.

What is known of a recording is its class (role `label`), what is said in it (role `text`), or nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats.cache import cache_folder, replacing
from modelcommons.formats.canonical import canonical
from modelcommons.formats.cells import Value, cells, names_of
from modelcommons.formats.digest import sha256
from modelcommons.formats.tables import AUDIO_SUFFIXES, Table, files_in, read_source
from modelcommons.workbench.fields.speech.ljspeech import read_layout
from modelcommons.workbench.fields.speech.sound import Sound, as_int16, header
from modelcommons.workbench.fields.speech.sound import read as read_sound
from modelcommons.workbench.task import BadRow, Column, Reading, Row, Source

VERSION = 1  # of the decoded recordings in the cache
IN_MEMORY = 256 * 2**20  # bytes; more decoded recordings than this are kept in the cache and memory-mapped
HIGHEST = 16_000  # Hz that `rate: auto` chooses at most: what is above tells voices apart, hardly words
MOST_CLASSES = 10_000

AUDIO_NAMES = ("audio", "sound", "recording", "speech", "path", "file", "file_name", "filename", "audio_path", "wav")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "y", "keyword", "command")
TEXT_NAMES = ("text", "sentence", "transcript", "transcription", "normalized_text", "words")
GROUP_NAMES = ("speaker", "speaker_id", "speaker_name", "client_id")
LABEL_KINDS = ("category", "integer", "text", "boolean")


class Clips:
    """Decoded recordings of one rate with what is known of them; fulfils the workbench's `Rows`."""

    def __init__(
        self,
        samples: np.ndarray,  # int16, all recordings one after the other, possibly memory-mapped
        ends: np.ndarray,  # (rows of the part + 1,) int64, from 0: where each ends
        rate_hz: int,
        targets: Sequence[str],
        names: Sequence[str],
        groups: Sequence[str] | None,
        times: np.ndarray | None = None,  # (rows of the part,) what sorts
        index: np.ndarray | None = None,
    ) -> None:
        self._samples, self._ends, self.rate_hz, self._targets = samples, ends, rate_hz, targets
        self._names, self._groups, self._times = names, groups, times
        self.index = np.arange(len(names)) if index is None else index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Row:
        at = int(self.index[index])
        group = self._groups[at] if self._groups is not None else None
        return Row(self._names[at], self.sound(index), self._targets[at], group)

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def ids(self) -> Iterable[str]:
        return (self._names[at] for at in self.index.tolist())

    def take(self, indices: np.ndarray) -> Clips:
        index = self.index[np.asarray(indices, np.int64)]
        every = (self._samples, self._ends, self.rate_hz, self._targets, self._names, self._groups, self._times)
        return Clips(*every, index)

    def moments(self) -> np.ndarray:
        """When each row came about, shape (rows,); only where the data has a column of times."""
        assert self._times is not None
        return np.asarray(self._times[self.index])

    def sound(self, index: int) -> Sound:
        at = int(self.index[index])
        return Sound(np.asarray(self._samples[self._ends[at] : self._ends[at + 1]]), self.rate_hz)

    @property
    def targets(self) -> list[str]:
        return [self._targets[at] for at in self.index.tolist()]

    def said(self, change: Callable[[str], str]) -> Clips:
        """The same recordings with their targets changed."""
        targets = [change(target) for target in self._targets]
        return Clips(
            self._samples, self._ends, self.rate_hz, targets, self._names, self._groups, self._times, self.index
        )

    @property
    def lengths(self) -> np.ndarray:
        """Samples of each recording, int64 (rows,)."""
        return np.asarray(np.diff(self._ends)[self.index])


@dataclass(frozen=True, slots=True)
class Roles:
    """Which column is what."""

    audio: str
    target: str | None  # nothing is known where there is none
    id: str | None
    group: str | None
    time: str | None
    by_path: bool  # the audio column holds paths of files that are not part of the source


# --- reading --------------------------------------------------------------------------------------------------------

Target = Literal["label", "text"] | None
Known = tuple[dict[str, Table], dict[str, list[str]]]  # tables without the rows that have no target; the targets


def read(source: Source, columns: Mapping[str, str], rate: int | Literal["auto"], target: Target) -> Reading:
    """All recordings of a source with what is known of them, decoded once to one rate.

    Args:
        target: the role of the column that says it; None: nothing is to be known.

    Raises:
        DataError: no column of recordings or targets is found, there is one class only, or nothing can be read.
    """
    tables = read_layout(source) or read_source(source)
    roles = find_roles(tables, columns, target)
    tables, known = _known(tables, roles.target, target)
    values = {split: cells(source, table, roles.audio, roles.by_path, "recording") for split, table in tables.items()}
    rate_hz, decoded = _decoded(source, tables, values, roles, rate)
    parts: dict[str, Clips] = {}
    for split, table in tables.items():
        samples, lengths, unreadable = decoded[split]
        broken = unreadable | _timeless(table, roles.time)
        good = np.array([index not in broken for index in range(len(table))], bool)
        tables[split] = table.refuse(~good, lambda index, why=broken: why[index])  # type: ignore[misc]
        names = names_of(table.ids(roles.id), values[split], good if roles.by_path else None)
        groups = [str(value) for value in table.column(roles.group).to_pylist()] if roles.group else None
        times = table.moments(roles.time) if roles.time else None
        whole = Clips(samples, np.cumsum([0, *lengths]), rate_hz, known[split], names, groups, times)
        parts[split] = whole if good.all() else whole.take(np.flatnonzero(good))
    return _reading(tables, parts, roles, target)


def find_roles(tables: Mapping[str, Table], columns: Mapping[str, str], target: Target) -> Roles:
    """The columns as the recipe names them; those not named are found by name and kind."""
    table = next(iter(tables.values()))
    for role, name in columns.items():
        if name not in table.columns:
            raise DataError(
                f"data.columns.{role}: there is no column '{name}'. The columns are {', '.join(table.columns)}."
            )
    audio = columns.get("audio") or _find(table, AUDIO_NAMES, lambda name: _holds_recordings(table, name))
    names, kinds = (LABEL_NAMES, LABEL_KINDS) if target == "label" else (TEXT_NAMES, ("text",))
    answer = columns.get(target) if target else None
    if target and not answer:
        answer = _find(table, names, lambda name: name != audio and table.kinds[name] in kinds)
    for what, found in (("audio", audio), (target, answer)):
        if what and found is None:
            raise DataError(
                f"Expected a column of the role {what}, found none among {', '.join(table.columns)}. "
                f"Name it in the recipe: data.columns.{what}."
            )
    assert audio is not None
    group = columns.get("group") or next((name for name in table.columns if name.lower() in GROUP_NAMES), None)
    by_path = table.kinds[audio] == "text"
    return Roles(audio, answer, columns.get("id"), group, columns.get("time"), by_path)


def _find(table: Table, names: Sequence[str], fits: Callable[[str], bool]) -> str | None:
    """The first column of a usual name that fits, else the only one that does."""
    lower = {name.lower(): name for name in table.columns}
    usual = [lower[name] for name in names if name in lower and fits(lower[name])]
    fitting = [name for name in table.columns if fits(name)]
    return next(iter(usual), None) or (fitting[0] if len(fitting) == 1 else None)


def _holds_recordings(table: Table, name: str) -> bool:
    if table.kinds[name] != "text":
        return table.kinds[name] in ("audio", "bytes")
    first = table.row(0, [name])[name] if len(table) else None
    return isinstance(first, str) and first.lower().endswith(AUDIO_SUFFIXES)


def _known(tables: Mapping[str, Table], column: str | None, target: Target) -> Known:
    """The rows of which it is known, and what."""
    if column is None:
        return dict(tables), {split: [""] * len(table) for split, table in tables.items()}
    return _labelled(tables, column) if target == "label" else _transcribed(tables, column)


def _labelled(tables: Mapping[str, Table], column: str) -> Known:
    """Each row's class.

    Raises:
        DataError: there is one class only.
    """
    labels = tuple(dict.fromkeys(label for table in tables.values() for label in table.classes(column)))
    if not 2 <= len(labels) <= MOST_CLASSES:
        raise DataError(
            f"Expected 2 to {MOST_CLASSES:,} classes in '{column}', found {len(labels):,}: {', '.join(labels[:3])}. "
            "Give recordings of another class too, or name another column: data.columns.label."
        )
    left = {split: table.refuse(table.codes(column, labels) < 0, "no label") for split, table in tables.items()}
    return left, {
        split: [labels[code] for code in table.codes(column, labels).tolist()] for split, table in left.items()
    }


def _transcribed(tables: Mapping[str, Table], column: str) -> Known:
    """What is said in each row, as it is written."""
    texts = {split: [str(text or "") for text in table.column(column).to_pylist()] for split, table in tables.items()}
    spoken = {split: np.array([any(map(str.isalnum, text)) for text in some], bool) for split, some in texts.items()}
    return (
        {split: table.refuse(~spoken[split], "no text") for split, table in tables.items()},
        {split: [text for text in some if any(map(str.isalnum, text))] for split, some in texts.items()},
    )


def _timeless(table: Table, column: str | None) -> dict[int, str]:
    """Rows without a time, where one is asked for: index -> why they cannot be used."""
    if column is None:
        return {}
    return {int(index): f"no time in column '{column}'" for index in np.flatnonzero(np.isnan(table.moments(column)))}


# --- decoding -------------------------------------------------------------------------------------------------------

Decoded = tuple[np.ndarray, list[int], dict[int, str]]  # all samples, length of each row (0: broken), why it is broken


def _decoded(
    source: Source,
    tables: Mapping[str, Table],
    values: Mapping[str, Value],
    roles: Roles,
    rate: int | Literal["auto"],
) -> tuple[int, dict[str, Decoded]]:
    """The rate, and the recordings of every part; many are kept in the cache, and mapped from there."""
    rate_hz, seconds = _rate(tables, values, rate)
    if roles.by_path or 2 * rate_hz * seconds <= IN_MEMORY:
        return rate_hz, {split: _decode(len(table), values[split], rate_hz) for split, table in tables.items()}
    key = sha256(canonical([VERSION, source.sha256, roles.audio, roles.target, rate_hz]))[:32]
    return rate_hz, {
        split: _stored(f"{key}-{split}", len(table), values[split], rate_hz) for split, table in tables.items()
    }


def _rate(tables: Mapping[str, Table], values: Mapping[str, Value], rate: int | Literal["auto"]) -> tuple[int, float]:
    """The one rate of all recordings, and how many seconds they are, from their headers."""
    rates: Counter[int] = Counter()
    seconds, why = 0.0, "there is none"
    for split, table in tables.items():
        for index in range(len(table)):
            try:
                rate_hz, frames = header(values[split](index))
            except DataError as error:
                why = f"{table.where(index)}: {error}"
                continue
            rates[rate_hz] += 1
            seconds += frames / rate_hz
    if not rates:
        raise DataError(f"None of the recordings can be read; {why}. Get them again.")
    return (min(HIGHEST, rates.most_common(1)[0][0]) if rate == "auto" else rate), seconds


def _sounds(num_rows: int, value: Value, rate_hz: int, broken: dict[int, str]) -> Iterator[np.ndarray]:
    """The samples of each row, int16; none where it cannot be read, and then why, in `broken`."""
    for index in range(num_rows):
        try:
            sound = read_sound(value(index))
        except DataError as error:
            broken[index] = str(error)
            yield np.empty(0, np.int16)
        else:
            yield sound.samples if sound.rate_hz == rate_hz else as_int16(sound.at(rate_hz))


def _decode(num_rows: int, value: Value, rate_hz: int) -> Decoded:
    broken: dict[int, str] = {}
    sounds = list(_sounds(num_rows, value, rate_hz, broken))
    return np.concatenate([np.empty(0, np.int16), *sounds]), [len(sound) for sound in sounds], broken


def _stored(key: str, num_rows: int, value: Value, rate_hz: int) -> Decoded:
    """The same through a file in the cache; what says how long each row is, is written last."""
    folder = cache_folder("recordings")
    array, about = folder / f"{key}.int16", folder / f"{key}.json"
    if not about.is_file():
        broken: dict[int, str] = {}
        lengths = []
        with replacing(array) as part, part.open("wb") as file:
            for sound in _sounds(num_rows, value, rate_hz, broken):
                file.write(sound.tobytes())
                lengths.append(len(sound))
        with replacing(about) as part:
            part.write_text(json.dumps({"lengths": lengths, "broken": broken}), encoding="utf-8")
    known = json.loads(about.read_text(encoding="utf-8"))
    samples = np.memmap(array, np.int16, "r")
    return samples, known["lengths"], {int(index): why for index, why in known["broken"].items()}


# --- the report -----------------------------------------------------------------------------------------------------


def _reading(tables: Mapping[str, Table], parts: Mapping[str, Clips], roles: Roles, target: Target) -> Reading:
    bad = tuple(BadRow(line.where, line.reason) for table in tables.values() for line in table.bad)
    return Reading(
        parts=parts,
        columns=tuple(_columns(tables, parts, roles, target)),
        bad=bad[:5],
        num_bad=sum(table.num_bad for table in tables.values()),
        num_read=sum(table.num_read for table in tables.values()),
    )


def _columns(tables: Mapping[str, Table], parts: Mapping[str, Clips], roles: Roles, target: Target) -> Iterator[Column]:
    clips = next(iter(parts.values()))
    first = next(iter(tables.values()))
    for name in first.columns:
        missing = sum(int(table.missing(name).sum()) for table in tables.values())
        match name:
            case roles.audio:
                seconds = float(np.median(clips.lengths)) / clips.rate_hz
                yield Column(name, "audio", "audio", missing, None, f"{seconds:.2f} s at {clips.rate_hz:,} Hz")
            case roles.target if target:
                known = [answer for part in parts.values() for answer in part.targets]
                kind = "category" if target == "label" else "text"
                yield Column(name, kind, target, missing, len(set(known)), next(iter(known), ""))
            case _:
                named = {roles.time: "time", roles.group: "group", roles.id: "id"}
                yield Column(name, first.kinds[name], named.get(name, "unused"), missing)


def read_input(value: Any) -> list[Row]:
    """Rows from a path, a folder, bytes, `{"array", "sampling_rate"}`, or a list of such, each at its own rate.

    Raises:
        DataError: one is no recording.
    """
    if isinstance(value, (list, tuple)):
        return [row for one in value for row in read_input(one)]
    if isinstance(value, (str, Path)) and Path(value).is_dir():
        return read_input(files_in(Path(value), AUDIO_SUFFIXES))
    name = str(value) if isinstance(value, (str, Path)) else "input"
    try:
        return [Row(name, read_sound(value))]
    except DataError as error:
        raise DataError(f"{name}: {error}. Hand in a recording.") from None
