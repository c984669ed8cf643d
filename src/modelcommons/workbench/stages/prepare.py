"""prepare: rows read, checked and divided; what is wrong with the data is said before anything is trained on it."""

from __future__ import annotations

import bisect
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from modelcommons.errors import DataError, RecipeError
from modelcommons.formats.canonical import canonical
from modelcommons.formats.digest import ids_sha256, sha256
from modelcommons.workbench.engine import duplicates
from modelcommons.workbench.engine.progress import Progress
from modelcommons.workbench.folder import RunFolder, write
from modelcommons.workbench.privacy import patterns
from modelcommons.workbench.recipe import DataSection, Recipe
from modelcommons.workbench.task import HasClasses, HasContent, Parts, Reading, Row, Rows, Source, Task

PARTS = ("train", "validation", "test")
VERSION = 1  # of the checks whose results are kept between resumptions
MOST_COMPARED = 1_000_000  # rows among which near duplicates are looked for
MOST_BYTES = 2**30  # pictures of more bytes than this are not decoded for it
SHOWN = 5  # examples of each finding


@dataclass(frozen=True, slots=True)
class Prepared:
    parts: Parts
    leaked: frozenset[str]  # ids of test rows whose content also stands in train or validation
    report: dict[str, Any]  # report.json
    ids_sha256: dict[str, str]  # part -> digest of its ordered ids


@dataclass(frozen=True, slots=True)
class Slow:
    """What takes long to find."""

    near: dict[str, Any] = field(default_factory=dict)  # of duplicates and of leaks; empty: not looked for
    hits: dict[str, int] | None = None  # personal data by kind; None: not looked for
    rows: int = 0
    voted: list[str] = field(default_factory=list)


def prepare(task: Task, source: Source, recipe: Recipe, folder: RunFolder, progress: Progress) -> Prepared:
    """Reads, checks and divides the data, and writes `prepare/report.json`.

    The same source and recipe give the same rows in the same order; slow findings are kept for the next resumption.

    Raises:
        DataError: too many bad rows, double ids, one class only, personal data where the recipe refuses it.
    """
    data = recipe.data
    reading = task.rows(source, data.columns, task.options.model_validate(data.options))
    _refuse_bad_rows(reading, data)
    parts = task.split(reading, data.split, task.options.model_validate(data.options))
    _refuse_double_ids(parts)
    report = _described(source, reading, parts)
    parts, leaked = _without_repeats(task, parts, data, report)
    _count_classes(task, parts, data, report)
    slow = _find_slowly(task, parts, data, folder, report)
    parts = _treat_personal_data(task, parts, data, slow, report)
    sizes = {name: len(rows) for name, rows in _named(parts)}
    report["rows"] |= sizes
    report["ids_sha256"] = {name: ids_sha256(rows.ids()) for name, rows in _named(parts)}
    write(folder.stage("prepare") / "report.json", json.dumps(report, indent=1, ensure_ascii=False))
    progress.line("prepare", _summary(report, sizes))
    if report["bad"]:
        progress.line("prepare", f"left out {_shown(reading)}")
    return Prepared(parts, leaked, report, report["ids_sha256"])


def _named(parts: Parts) -> list[tuple[str, Rows]]:
    return [(name, getattr(parts, name)) for name in PARTS]


# --- rows that cannot be used ---------------------------------------------------------------------------------------


def _refuse_bad_rows(reading: Reading, data: DataSection) -> None:
    share = reading.num_bad / max(reading.num_read, 1)
    if share <= data.allow_bad_rows:
        return
    raise DataError(
        f"{reading.num_bad:,} of {reading.num_read:,} rows cannot be used ({_shown(reading)}). Mend them, "
        f"or leave them out: data.allow_bad_rows: {_rounded_up(share)}."
    )


def _shown(reading: Reading) -> str:
    """`news.csv:7: no label; news.csv:9: 2 fields, expected 5; ...`"""
    shown = "; ".join(f"{bad.where}: {bad.reason}" for bad in reading.bad[:SHOWN])
    return shown + ("; ..." if reading.num_bad > len(reading.bad[:SHOWN]) else "")


def _rounded_up(share: float) -> float:
    """The next share with three digits after the point that allows this one."""
    return min(1.0, int(share * 1000 + 1) / 1000)


def _refuse_double_ids(parts: Parts) -> None:
    ids = _Joined([rows for _, rows in _named(parts)])
    repeats = duplicates.exact(duplicates.digests(ids.ids()))
    if len(repeats.rows):
        id = ids.id(int(repeats.rows[0]))
        raise DataError(
            f"{len(repeats.rows):,} rows have the id of an earlier row, the first is '{id}'. Give every row its own, "
            "or leave data.columns.id out."
        )


# --- duplicates and leaks -------------------------------------------------------------------------------------------


class _Joined:
    """Rows of several parts, one after the other; with a task, their contents."""

    def __init__(self, rows: list[Rows], task: HasContent | None = None) -> None:
        self._rows, self._task = rows, task
        self._ends = list(itertools.accumulate(map(len, rows)))

    def __len__(self) -> int:
        return self._ends[-1]

    def row(self, index: int) -> Row:
        part = bisect.bisect_right(self._ends, index)
        return self._rows[part][index - (self._ends[part - 1] if part else 0)]

    def id(self, index: int) -> str:
        return self.row(index).id

    def ids(self) -> Iterator[str]:
        for rows in self._rows:
            yield from rows.ids()

    def __getitem__(self, index: int) -> str | bytes:
        assert self._task is not None
        return self._task.content(self.row(index))


def _without_repeats(
    task: Task, parts: Parts, data: DataSection, report: dict[str, Any]
) -> tuple[Parts, frozenset[str]]:
    """Exact duplicates dropped from train, leaks found; what of it was done stands in the report."""
    if not isinstance(task, HasContent):
        return parts, frozenset()
    keys = {name: duplicates.digests(_contents(task, rows)) for name, rows in _named(parts)}
    keep = np.ones(len(parts.train), bool)
    if "duplicates" in data.checks:
        repeats = duplicates.exact(keys["train"])
        held_out = duplicates.common(keys["train"], keys["validation"])
        report["duplicates"] = {
            "exact": len(repeats.rows),
            "in_validation": len(held_out),
            "conflicting": _conflicts(task, parts.train, repeats),
            "examples": [[parts.train[b].id, parts.train[a].id] for a, b in _first(repeats.rows, repeats.of)],
        }
        if data.duplicates == "drop":
            keep[repeats.rows] = keep[held_out] = False
        report["duplicates"]["dropped"] = int((~keep).sum())
    leaked: frozenset[str] = frozenset()
    validation = parts.validation
    if "leaks" in data.checks:
        leaked, seen = _leaks(parts, keys)
        report["leaks"] = {"exact": len(leaked), "dropped": 0, "examples": sorted(leaked)[:SHOWN]}
        if data.leaks == "drop" and leaked:
            report["leaks"]["dropped"] = int(keep[seen["train"]].sum()) + len(seen["validation"])
            keep[seen["train"]] = False
            validation = validation.take(np.setdiff1d(np.arange(len(validation)), seen["validation"]))
            leaked = frozenset()
    if not keep.all():
        parts = replace(parts, train=parts.train.take(np.flatnonzero(keep)))
    if not len(parts.train) or not len(validation):
        raise DataError("Nothing is left to train or choose by once duplicates and leaks are dropped. Give other data.")
    return replace(parts, validation=validation), leaked


def _contents(task: HasContent, rows: Rows) -> Iterator[str | bytes]:
    return (task.content(rows[index]) for index in range(len(rows)))


def _leaks(parts: Parts, keys: Mapping[str, np.ndarray]) -> tuple[frozenset[str], dict[str, np.ndarray]]:
    """Ids of test rows that were seen in train or validation; and the indices of the rows there that show them."""
    known = np.concatenate([keys["train"], keys["validation"]])
    leaked = frozenset(parts.test[int(index)].id for index in duplicates.common(keys["test"], known))
    return leaked, {name: duplicates.common(keys[name], keys["test"]) for name in ("train", "validation")}


def _conflicts(task: Task, rows: Rows, repeats: duplicates.Repeats) -> int:
    """Duplicates that carry another label than the row they repeat."""
    if not isinstance(task, HasClasses):
        return 0
    pairs = zip(repeats.rows.tolist(), repeats.of.tolist(), strict=True)
    return sum(task.label(rows[a]) != task.label(rows[b]) for a, b in pairs)


def _first(*columns: np.ndarray) -> Iterable[tuple[int, ...]]:
    return zip(*(column[:SHOWN].tolist() for column in columns), strict=True)


# --- classes --------------------------------------------------------------------------------------------------------


def _count_classes(task: Task, parts: Parts, data: DataSection, report: dict[str, Any]) -> None:
    """Rows per class and part.

    Raises:
        DataError: the training rows are all of one class.
    """
    if not isinstance(task, HasClasses):
        return
    counts = {name: Counter(task.label(rows[index]) for index in range(len(rows))) for name, rows in _named(parts)}
    if len(counts["train"]) < 2:
        (label,) = counts["train"]
        raise DataError(
            f"All {len(parts.train):,} training rows are of the class '{label}'. Expected at least two classes: "
            "name the right column with data.columns.label, or give rows of another class."
        )
    if "balance" in data.checks:
        report["classes"] = {name: dict(sorted(found.items())) for name, found in counts.items()}
        report["unseen_classes"] = sorted(set(counts["test"]) - set(counts["train"]))


# --- slow findings: kept for the next resumption ---------------------------------------------------------------------


def _find_slowly(task: Task, parts: Parts, data: DataSection, folder: RunFolder, report: dict[str, Any]) -> Slow:
    """Near duplicates and personal data; what was found last time, where it was about the same rows and checks."""
    if not isinstance(task, HasContent):
        return Slow()
    about = {"version": VERSION, "task": task.name, "data": data.model_dump(mode="json"), "source": report["source"]}
    key = sha256(canonical(about))
    path = folder.stage("prepare") / "slow.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        before = {}
    found = Slow(**before["found"]) if before.get("key") == key else _slow(task, parts, data)
    write(path, json.dumps({"key": key, "found": asdict(found)}, ensure_ascii=False))
    for name in ("duplicates", "leaks"):
        if name in report:
            report[name] |= found.near.get(name, {"near": None})
    return found


def _slow(task: HasContent, parts: Parts, data: DataSection) -> Slow:
    near = _near(task, parts) if {"duplicates", "leaks"} & set(data.checks) else {}
    if "personal-data" not in data.checks or not isinstance(task.content(parts.train[0]), str):
        return Slow(near)
    texts = (str(text) for _, rows in _named(parts) for text in _contents(task, rows))
    scanned = patterns.scan(texts)
    return Slow(near, dict(scanned.hits), scanned.rows, sorted(scanned.voted))


def _near(task: HasContent, parts: Parts) -> dict[str, Any]:
    """Training rows with a near duplicate before them, and test rows with one in train or validation."""
    joined = _Joined([rows for _, rows in _named(parts)], task)
    first = joined[0]
    if len(joined) > MOST_COMPARED or (isinstance(first, bytes) and len(first) * len(joined) > MOST_BYTES):
        return {}
    pairs = duplicates.near(joined)
    num_train, num_known = len(parts.train), len(parts.train) + len(parts.validation)
    found = {
        "duplicates": pairs[(pairs < num_train).all(axis=1)],
        "leaks": pairs[(pairs[:, 0] < num_known) & (pairs[:, 1] >= num_known)],
    }
    return {
        name: {
            "near": len(np.unique(some[:, 1])),
            "near_examples": [[joined.id(a), joined.id(b)] for a, b in some[:SHOWN].tolist()],
        }
        for name, some in found.items()
    }


# --- personal data --------------------------------------------------------------------------------------------------


class _Masked:
    """Rows of text in which personal data is replaced by its kind, for training and evaluation alike."""

    def __init__(self, rows: Rows, voted: frozenset[str]) -> None:
        self._rows, self._voted = rows, voted

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        row = self._rows[index]
        return Row(row.id, patterns.mask(row.x, self._voted), row.y, row.group)

    def ids(self) -> Iterable[str]:
        return self._rows.ids()

    def take(self, indices: np.ndarray) -> _Masked:
        return _Masked(self._rows.take(indices), self._voted)


def _treat_personal_data(task: Task, parts: Parts, data: DataSection, found: Slow, report: dict[str, Any]) -> Parts:
    """As `data.personal_data` says: counted, masked, or refused."""
    if data.personal_data == "mask" and (found.hits is None or not isinstance(parts.train[0].x, str)):
        raise RecipeError(
            f"data.personal_data: 'mask' needs rows of text and the check 'personal-data'; {task.name} has none here. "
            "Write 'report'."
        )
    if found.hits is None:
        return parts
    report["personal_data"] = {"policy": data.personal_data, "hits": found.hits, "rows": found.rows}
    if data.personal_data == "refuse" and found.hits:
        raise DataError(
            f"Expected no personal data, found {_personal_words(found.hits)} in {_counted(found.rows, 'row')}. "
            "Remove it, or mask it: data.personal_data: mask."
        )
    if data.personal_data != "mask" or not found.hits:
        return parts
    voted = frozenset(found.voted)
    masked = {name: _Masked(rows, voted) for name, rows in _named(parts)}
    return Parts(**masked, how=parts.how)


def _personal_words(hits: Mapping[str, int]) -> str:
    """`114 e-mail addresses, 1 IBAN`."""
    return ", ".join(
        f"{count:,} {patterns.KINDS[kind].one if count == 1 else patterns.KINDS[kind].many}"
        for kind, count in hits.items()
    )


# --- words ----------------------------------------------------------------------------------------------------------


def _described(source: Source, reading: Reading, parts: Parts) -> dict[str, Any]:
    return {
        "source": {
            "name": source.name,
            "sha256": source.sha256,
            "revision": source.revision,
            "licence": source.licence,
            "homepage": source.homepage,
            "num_files": len(source.files),
            "size": sum(file.size for file in source.files),  # bytes
        },
        "columns": [asdict(column) for column in reading.columns],
        "rows": {"read": reading.num_read, "bad": reading.num_bad},
        "bad": [asdict(bad) for bad in reading.bad[:SHOWN]],
        "notes": list(reading.notes),
        "split": parts.how,
    }


def _summary(report: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    """`10,003 + 1,000 + 3,080 rows · 0 bad rows · 37 exact duplicates dropped · 2 test rows seen in train`."""
    words = [f"{' + '.join(f'{size:,}' for size in sizes.values())} rows", _counted(report["rows"]["bad"], "bad row")]
    if "duplicates" in report:
        found = report["duplicates"]
        fate = f"{found['dropped']:,} rows dropped" if found["dropped"] else "kept"
        near = f", {found['near']:,} near" if found.get("near") else ""
        words.append(_counted(found["exact"], "exact duplicate") + (f" ({fate})" if found["exact"] else "") + near)
    if "leaks" in report:
        dropped = f", {report['leaks']['dropped']:,} dropped from train" if report["leaks"]["dropped"] else ""
        near = f", {report['leaks']['near']:,} nearly" if report["leaks"].get("near") else ""
        words.append(f"{_counted(report['leaks']['exact'], 'test row')} seen in train{dropped}{near}")
    if report.get("unseen_classes"):
        words.append(f"{_counted(len(report['unseen_classes']), 'test class')} not in train")
    if report.get("personal_data", {}).get("hits"):
        fate = {"mask": " masked", "report": ""}[report["personal_data"]["policy"]]
        words.append(_personal_words(report["personal_data"]["hits"]) + fate)
    return " · ".join(words)


def _counted(number: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"
