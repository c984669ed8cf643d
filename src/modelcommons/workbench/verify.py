"""verify: the ladder from a signature to training again; each receipt of a model folder is climbed with.

Source: receipts.md v0.1, "The ladder" and "When is a re-run the same". Up to `score` no torch is needed.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from modelcommons.errors import (
    CommonsError,
    Contradicted,
    DoesNotHold,
    Forged,
    FormatError,
    MissingPackage,
    NotFound,
    Undecided,
    UsageError,
)
from modelcommons.formats import bom, card, predictions, receipt, yaml
from modelcommons.formats.canonical import canonical
from modelcommons.formats.card import Shown
from modelcommons.formats.digest import folder_sha256, ids_sha256
from modelcommons.formats.predictions import Lines
from modelcommons.formats.receipt import Receipt, Result, decimal
from modelcommons.workbench import fields, protocols, sources
from modelcommons.workbench.engine.progress import Progress, Silent
from modelcommons.workbench.engine.scoring import Score
from modelcommons.workbench.engine.statistics import block_bootstrap
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe, ShrinkSection, load_resolved
from modelcommons.workbench.serve import find_folder
from modelcommons.workbench.stages import evaluate
from modelcommons.workbench.stages.evaluate import JUDGED
from modelcommons.workbench.stages.prepare import Prepared, prepare
from modelcommons.workbench.stages.report.sections import interval, number, receipt_path
from modelcommons.workbench.task import Line, Parts, Rows, Source, Task

Level = Literal["signature", "files", "score", "infer", "train"]
Outcome = Literal["PASS", "FAIL", "UNDECIDED", "SKIPPED"]

LEVELS: tuple[Level, ...] = ("signature", "files", "score", "infer", "train")
SHOWN = 5  # ids of rows that differ
LOOSE = 10  # times the noise measured here that a receipt's own noise may allow
HEADLINE = re.compile(r"(\S+) (\S+) (\[[^\]]*\])")  # metric, value, interval
MARGIN = 0.01  # share of the main metric by which a model trained elsewhere may differ


@dataclass(frozen=True, slots=True)
class Check:
    """One receipt on one level."""

    level: Level
    receipt: str  # its path in the model folder
    outcome: Outcome
    reason: str
    ids: tuple[str, ...] = ()  # of rows that differ


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of every check, in order."""

    folder: Path
    signers: tuple[str, ...]  # fingerprints
    checks: tuple[Check, ...]

    @property
    def outcome(self) -> Outcome:
        """FAIL when one check failed, else UNDECIDED when one could not be made, else PASS."""
        found = {check.outcome for check in self.checks}
        return "FAIL" if "FAIL" in found else "UNDECIDED" if "UNDECIDED" in found else "PASS"

    @property
    def holds(self) -> bool:
        return self.outcome == "PASS"

    @property
    def exit_code(self) -> int:
        return {"PASS": 0, "FAIL": 1}.get(self.outcome, 2)

    def __str__(self) -> str:
        rows = [(check.outcome, check.level, check.receipt, _told(check)) for check in self.checks]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
        ]
        said = {"PASS": "holds", "FAIL": "does not hold", "UNDECIDED": "cannot be decided"}[self.outcome]
        return "\n".join(
            [*lines, f"signed by {', '.join(self.signers) or 'nobody'}", f"{self.outcome}  {self.folder} {said}"]
        )

    def _repr_html_(self) -> str:
        import html

        rows = "".join(
            f"<tr><td>{check.outcome}</td><td>{check.level}</td><td>{html.escape(check.receipt)}</td>"
            f"<td>{html.escape(_told(check))}</td></tr>"
            for check in self.checks
        )
        return f"<table><tr><th>{self.outcome}</th><th>level</th><th>receipt</th><th>why</th></tr>{rows}</table>"


def verify(
    path: str | Path,
    level: str = "score",
    *,
    sample: float = 1.0,
    key: str | None = None,
    data: str | Path | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Checks every receipt of a model, level by level up to `level`; a receipt that fails one is not taken further.

    Args:
        path: a run folder, a model folder, or a hub id.
        level: one of `LEVELS`.
        sample: share of the test rows answered again at `infer`.
        key: fingerprint that must have signed (`mc:...`); any key will do when not given.
        data: the data's file or folder, where they are not where the recipe says.

    Raises:
        NotFound: no model, or no receipt, is there.
        UsageError: no such level, or a sample outside (0, 1].
    """
    if level not in LEVELS:
        raise UsageError(f"There is no level '{level}'. Levels: {', '.join(LEVELS)}.")
    if not 0 < sample <= 1:
        raise UsageError(f"Expected a sample above 0 and up to 1 (or 100%), got {sample:g}.")
    folder = find_folder(path)
    if not any((folder / "receipts").rglob("*.json")):
        raise NotFound(f"There is no receipt in {folder}: nothing says how its numbers came about.")
    model = _Shipped(folder, Path(path), data, progress or Silent())
    checks: list[Check] = []
    signers: dict[str, None] = {}
    for name in sorted(model.names, key=lambda name: (not name.endswith("/model.json"), name)):
        if not (folder / name).is_file():
            checks.append(Check("signature", name, "UNDECIDED", "It is not here, though there are numbers it is for."))
            continue
        climb = _Climb(model, folder / name, name, sample, key)
        for step in LEVELS[: LEVELS.index(level) + 1]:
            checks.append(_check(step, name, getattr(climb, step), model))
            if checks[-1].outcome in ("FAIL", "UNDECIDED"):
                break
        if "receipt" in vars(climb):
            signers[climb.receipt.fingerprint] = None
    return Verdict(folder, tuple(signers), tuple(checks))


class _Skipped(Exception):
    """There is nothing to check at this level, and that is as it should be."""


class _Differs(Contradicted):
    """Contradicted, with the rows."""

    def __init__(self, reason: str, ids: Sequence[str]) -> None:
        super().__init__(reason)
        self.ids = tuple(ids)


def _check(level: Level, name: str, work: Callable[[], str], model: _Shipped) -> Check:
    """The outcome of one step."""
    try:
        with fields.needed(model.task) if level in ("infer", "train") else nullcontext():
            return Check(level, name, "PASS", work())
    except _Skipped as skipped:
        return Check(level, name, "SKIPPED", str(skipped))
    except (DoesNotHold, FormatError) as error:  # a damaged file is not the file that was signed
        return Check(level, name, "FAIL", str(error), getattr(error, "ids", ()))
    except CommonsError as error:
        return Check(level, name, "UNDECIDED", str(error))


def _told(check: Check) -> str:
    if not check.ids:
        return check.reason
    more = f" and {len(check.ids) - SHOWN:,} more" if len(check.ids) > SHOWN else ""
    return f"{check.reason} Rows: {', '.join(check.ids[:SHOWN])}{more}."


class _Shipped:
    """What all receipts of a folder share, read once and only when a level asks for it."""

    def __init__(self, folder: Path, path: Path, data: str | Path | None, progress: Progress) -> None:
        self.folder, self.progress = folder, progress
        self._run = path / "recipe.yaml" if path / "model" == folder else None
        self._data = data

    @cached_property
    def names(self) -> set[str]:
        """Paths of all receipts: those here, and those that ought to be: of the model, of each export, of each file of
        predictions, and what the card names. A receipt that was taken away is missed."""
        here = {path.relative_to(self.folder).as_posix() for path in (self.folder / "receipts").rglob("*.json")}
        scored = {path.relative_to(self.folder).with_suffix("") for path in self.folder.glob("onnx/*.onnx")}
        answered = (self.folder / "predictions").rglob("*.jsonl.gz")
        scored |= {path.relative_to(self.folder / "predictions").with_suffix("").with_suffix("") for path in answered}
        wanted = {receipt_path(path.as_posix()) for path in scored} - {receipt_path("baseline")}
        card = self.folder / "README.md"
        named = re.findall(r"receipts/[\w./-]+\.json", _text(card)) if card.is_file() else []
        return here | wanted | {receipt_path("model")} | {name for name in named if ".." not in name}

    @cached_property
    def receipts(self) -> dict[str, Receipt]:
        """Those that can be read and are signed, by path."""
        found = {}
        for name in sorted(self.names):
            try:
                found[name] = receipt.read(self.folder / name)
            except CommonsError:
                continue  # its own check says so
        return found

    @property
    def complete(self) -> bool:
        """Whether all receipts are here and signed; where not, a check of its own says so."""
        return len(self.receipts) == len(self.names)

    @cached_property
    def recipe(self) -> Recipe:
        """As it was published."""
        try:
            return load_resolved(self.folder / "recipe.yaml")
        except NotFound:
            raise Undecided("The folder has no recipe.yaml, so nothing says how its rows were chosen.") from None

    @cached_property
    def task(self) -> Task:
        return fields.find(self.recipe.task)

    @cached_property
    def options(self) -> Any:
        return self.task.options.model_validate(self.recipe.data.options)

    @cached_property
    def local(self) -> Recipe:
        """The same recipe, its data named as they can be found from here."""
        recipe = self.recipe
        if self._run and self._run.is_file():
            here = load_resolved(self._run)
            if here.digest(JUDGED) == recipe.digest(JUDGED):
                recipe = here
        if self._data is None:
            return recipe
        update = {"source": str(Path(self._data).absolute()) if Path(self._data).exists() else str(self._data)}
        return recipe.model_copy(update={"data": recipe.data.model_copy(update=update)})

    @cached_property
    def source(self) -> Source:
        """The data.

        Raises:
            NotFound: they are not here.
        """
        data = self.local.data
        if not (data.source.startswith("bundled:") or "/" in data.source or data.revision):
            raise NotFound(f"'{data.source}' is the name of a file or folder of the author's machine.")
        return sources.find(data.source, data.revision, data.license)

    @cached_property
    def test(self) -> Rows:
        """The test rows, as the recipe divides the data."""
        with fields.needed(self.task):
            reading = self.task.rows(self.source, self.recipe.data.columns, self.options)
            return self.task.split(reading, self.recipe.data.split, self.options).test

    @cached_property
    def prepared(self) -> Prepared:
        """All rows, as a run sees them: duplicates dropped, personal data masked where the recipe says so."""
        with tempfile.TemporaryDirectory() as folder:
            return prepare(self.task, self.source, self.local, RunFolder(Path(folder)), Silent())

    @property
    def parts(self) -> Parts:
        return self.prepared.parts

    @cached_property
    def baseline(self) -> Lines:
        return self.lines("baseline")

    def lines(self, name: str) -> Lines:
        """The stored predictions called `name`."""
        path = self.folder / "predictions" / f"{name}.jsonl.gz"
        if not path.is_file():
            raise Undecided(f"predictions/{name}.jsonl.gz is not here; its licence may forbid to share it.")
        return predictions.read(path)

    @cached_property
    def again(self) -> dict[str, tuple[str, Lines]]:
        """Model digest and predictions of every seed, by name, from running the recipe again; it takes as long."""
        from modelcommons.workbench.run import run

        recipe = self.local
        update = {
            "explain": recipe.explain.model_copy(update={"examples": 0}),
            "shrink": ShrinkSection(),
            "publish": recipe.publish.model_copy(update={"repo": None}),
        }
        with tempfile.TemporaryDirectory(prefix="commons-verify-") as name:
            folder = Path(name)
            scored = run(recipe.model_copy(update=update), folder, self.progress).scored
            return {
                each.name: (each.model_sha256, predictions.read(folder / each.predictions))
                for each in (scored.main, *scored.others)
            }

    @cached_property
    def front(self) -> dict[str, Any]:
        """The card's front matter."""
        return card.read_front_matter(self._card)

    @cached_property
    def pages(self) -> dict[str, Shown]:
        """What the pages show that people read: the card, and the report where it is here."""
        found = {"card": card.shown(card.body(self._card))}
        report = self.folder / "report.html"
        return found | ({"report": card.shown_in_html(_text(report))} if report.is_file() else {})

    @cached_property
    def eval_results(self) -> list[dict[str, Any]]:
        """What we wrote for the Hub's leaderboards; nothing where the data are not from a hub."""
        path = self.folder / card.EVAL_RESULTS
        return list(_each(yaml.load(_text(path), path.name))) if path.is_file() else []

    @cached_property
    def _card(self) -> str:
        try:
            return (self.folder / "README.md").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise Undecided("The folder has no card (README.md) that can be read.") from None


class _Climb:
    """One receipt, taken up the ladder. A level returns what it found, or raises why it does not hold."""

    def __init__(self, model: _Shipped, path: Path, name: str, sample: float, key: str | None) -> None:
        self.model, self.path, self.name, self.sample, self.key = model, path, name, sample, key
        self.answers = Path(name).relative_to("receipts").with_suffix("").as_posix()  # model, seed-1, onnx/model_int8

    @cached_property
    def receipt(self) -> Receipt:
        return receipt.read(self.path)

    @cached_property
    def lines(self) -> Lines:
        return self.model.lines(self.answers)

    @property
    def variant(self) -> str:
        return f"{self.answers}.onnx" if "/" in self.answers else ""

    # --- signature ---------------------------------------------------------------------------------------------------

    def signature(self) -> str:
        """The envelope is signed by the key it names (where asked, by the one expected), and says what it is of."""
        found = self.receipt
        if self.key and found.fingerprint != self.key:
            raise Forged(f"Expected the signature of {self.key}, it is of {found.fingerprint}.")
        subject = found.statement.subject[0].name
        if subject.rpartition(":")[2] != self.answers:
            raise Forged(f"The receipt is of {subject}, but stands where that of {self.answers} belongs.")
        first, claim = found.predicate.results[0], found.predicate.claim
        if (claim.metric, claim.value) != (first.metric, first.value):
            raise Contradicted(f"It claims {claim.metric} {claim.value}, but measured {first.metric} {first.value}.")
        energy = found.energy()
        drew = f", {_short(energy.value)} Wh ({energy.band}, {energy.method})" if energy else ""
        said = f"{claim.metric} {_short(claim.value)}, {found.predicate.relationship}, {found.predicate.finished}"
        return f"{said}{drew}"

    # --- files -------------------------------------------------------------------------------------------------------

    def files(self) -> str:
        """Predictions, recipe, card and model files are those that were signed."""
        told = self.receipt.predicate
        lines, baseline = self.lines, self.model.baseline
        baseline.begin_root()
        if (lines.sha256, lines.merkle_root, len(lines)) != (
            told.predictions.sha256, told.predictions.root, told.predictions.count,
        ):  # fmt: skip
            raise Contradicted(f"predictions/{self.answers}.jsonl.gz is not the file that was signed.")
        floor = told.inputs.protocol.get("baseline", {})
        if (baseline.sha256, baseline.merkle_root) != (floor.get("sha256"), floor.get("merkleRoot")):
            raise Contradicted("predictions/baseline.jsonl.gz is not the file that was signed.")
        if self.model.recipe.digest(JUDGED) != told.inputs.data.get("recipeSha256"):
            raise Contradicted("recipe.yaml is not the recipe that was signed.")
        self._pages()
        if self._place is None:
            return "predictions and recipe as signed; the weights of this seed are not shipped"
        names = self._files(self._place)
        if folder_sha256(self._place, names) != self.receipt.model_sha256:
            raise Contradicted(f"The model is not the one that was signed; one of these differs: {', '.join(names)}.")
        return f"{len(names)} model files, predictions, recipe and card as signed"

    @property
    def _is_seed(self) -> bool:
        return re.fullmatch(r"seed-\d+", self.answers) is not None

    @property
    def _place(self) -> Path | None:
        """Where the weights are: other seeds leave them in the folder where all answer together, else predictions."""
        if not self._is_seed:
            return self.model.folder
        place = self.model.folder / self.answers
        return place if place.is_dir() else None

    def _files(self, place: Path) -> list[str]:
        try:
            names = self.model.task.files(place, self.variant)
        except FileNotFoundError as error:
            raise Undecided(f"{error.filename} is not here, so the model cannot be digested.") from None
        missing = [name for name in names if not (place / name).is_file()]
        if missing:
            raise Undecided(f"{missing[0]} is not here, so the model cannot be digested.")
        return names

    def _pages(self) -> None:
        """Numbers on the card, in front matter, table and headline, and in the report, are those of this receipt."""
        wanted = {result.metric: result for result in self.receipt.predicate.results}
        for page, found in self.model.pages.items():
            for cells in found.rows:
                if len(cells) >= 4 and cells[-1] == self.name:
                    if cells[0] not in wanted:
                        raise Contradicted(f"The {page} has a {cells[0]} that is not in {self.name}.")
                    result = wanted[cells[0]]
                    _same(page, cells[:4], result, number(result.baseline))
            headline = HEADLINE.match(found.headline)
            if self.answers == "model" and headline and headline[1] in wanted:
                _same(page, headline.groups(), wanted[headline[1]])
        if not self._is_seed:
            self._model_index()
            self._exported()

    def _model_index(self) -> None:
        """The card's `model-index` has this receipt's result, and none that no receipt has signed."""
        results = [
            list(_each(result.get("metrics")))
            for entry in _each(self.model.front.get("model-index"))
            for result in _each(entry.get("results"))
        ]
        signed = [card.index_metrics(found) for found in self.model.receipts.values()]
        for result in results:
            if result not in signed and self.model.complete:
                known = {(each["type"], each["value"]) for metrics in signed for each in metrics}
                odd = [each for each in result if (each.get("type"), each.get("value")) not in known] or result
                what = f"{odd[0].get('type')} {odd[0].get('value')}" if odd else "a result"
                raise Contradicted(f"The card's model-index has {what}, which no receipt here has signed as it stands.")
        if results and card.index_metrics(self.receipt) not in results:
            raise Contradicted(f"The card's model-index lacks the result of {self.name}.")

    def _exported(self) -> None:
        """The numbers in the formats of others are those of receipts: CycloneDX, and the Hub's `.eval_results`."""
        first, bill = self.receipt.predicate.results[0], self.model.folder / bom.NAME
        if bill.is_file():
            said = bom.read_metrics(bill)
            signed = [bom.metrics(found) for found in self.model.receipts.values()]
            odd = [metrics for metrics in said if metrics not in signed] if self.model.complete else []
            if odd or bom.metrics(self.receipt) not in said:
                raise Contradicted(f"{bom.NAME} has numbers that are not those of {self.name}.")
        if self.answers == "model":
            for entry in self.model.eval_results:
                if entry.get("value") != float(first.value):
                    raise Contradicted(
                        f"{card.EVAL_RESULTS} says {first.metric} {entry.get('value')}; "
                        f"the receipt says {_short(first.value)}."
                    )

    # --- score -------------------------------------------------------------------------------------------------------

    def score(self) -> str:
        """Every number follows from the stored predictions; rows and targets are the data's own."""
        lines, told = self.lines, self.receipt.predicate
        self._same_rows(told.inputs.data)
        scores = {score.metric: score for score in self._scores(lines)}
        floors = {score.metric: score for score in self._scores(self.model.baseline)}
        for result in told.results:
            mine = scores.get(result.metric)
            if mine is None or result.metric not in floors:
                raise Contradicted(f"{result.metric} does not follow from the stored predictions.")
            found = (decimal(mine.value), decimal(mine.low), decimal(mine.high), mine.num, mine.den)
            if found != (result.value, result.ci95.low, result.ci95.high, result.num, result.den):
                raise Contradicted(
                    f"{result.metric} was signed as {_interval(result.value, result.ci95.low, result.ci95.high)}; "
                    f"the stored predictions give {_interval(*found[:3])}."
                )
            if decimal(floors[result.metric].value) != result.baseline:
                raise Contradicted(
                    f"The baseline's {result.metric} was signed as {result.baseline}; "
                    f"its stored predictions give {decimal(floors[result.metric].value)}."
                )
        self._rule(told.inputs.protocol)
        data = self._same_data(told.inputs.data)
        first = told.results[0]
        what = _interval(first.value, first.ci95.low, first.ci95.high)
        return f"{first.metric} {what} from {len(lines):,} predictions; {data}"

    def _scores(self, lines: Sequence[Line]) -> list[Score]:
        return self.model.task.scores(lines, self.model.recipe.evaluate.seed)

    def _same_rows(self, told: dict[str, Any]) -> None:
        """Model and baseline answer the same rows, which are those that were signed."""
        ids, floor = self.lines.ids, self.model.baseline
        if len(ids) != told.get("rows") or ids_sha256(ids) != told.get("idsSha256"):
            raise Contradicted(f"The rows answered are not the {told.get('rows'):,} test rows that were signed.")
        if not self.lines.has_ids_of(floor) or not _targets(self.lines, floor):
            raise Contradicted("The baseline answers other rows, or has other targets, than the model.")

    def _rule(self, told: dict[str, Any]) -> None:
        """The evaluation rule is the task's own, and the protocol's where one is named."""
        name = self.model.recipe.evaluate.protocol
        rule = evaluate.rule(self.model.task, self.model.recipe)
        differs = [key for key, value in rule.items() if canonical(told.get(key)) != canonical(value)]
        if differs:
            key = differs[0]
            raise Contradicted(f"The rule was signed with {key} {told.get(key)!r}; the recipe says {rule[key]!r}.")
        if name:
            data, protocol = self.receipt.predicate.inputs.data, protocols.find(name)
            protocols.check(protocol, self.model.task.name, data["sha256"], data["idsSha256"], data["rows"])
            signed = {result.metric: result.baseline for result in self.receipt.predicate.results}
            for metric, wanted in protocol.baseline_values.items():
                if signed.get(metric) != wanted:
                    raise Contradicted(
                        f"The baseline of {name} has {metric} {wanted}, signed was {signed.get(metric)}."
                    )

    def _same_data(self, told: dict[str, Any]) -> str:
        """Rows and targets against the data themselves, where these are here; in words what was compared."""
        try:
            source = self.model.source
        except (NotFound, FormatError, MissingPackage) as error:
            if self.model._data is not None:
                raise
            return f"targets as signed, the data are not here ({_first_sentence(error)})"
        if source.sha256 != told.get("sha256"):
            raise Undecided(
                f"The data at {source.name} are not those of the receipt: expected digest "
                f"{str(told.get('sha256'))[:12]}, got {source.sha256[:12]}. Name them with --data."
            )
        try:
            test, task = self.model.test, self.model.task
        except MissingPackage as error:
            return f"targets as signed, the data cannot be read here ({_first_sentence(error)})"
        ids = list(test.ids())
        if ids_sha256(ids) != told.get("idsSha256"):
            here = set(self.lines.ids)
            missing = [id for id in ids if id not in here]
            raise _Differs(
                f"The recipe's test part has {len(ids):,} rows, the receipt is of {len(self.lines):,} others.", missing
            )
        pairs = ((line["id"], line["target"], task.target(test[index])) for index, line in enumerate(self.lines))
        wrong = [id for id, a, b in pairs if a != b and canonical(a) != canonical(b)]
        if wrong:
            raise _Differs(f"{len(wrong):,} targets are not the data's.", wrong)
        return "rows and targets are the data's"

    def _same_training(self) -> None:
        """The training rows are those that were signed: a digest of the data has no files that its tables only name."""
        signed = self.receipt.predicate.inputs.data.get("trainIdsSha256")
        if signed not in (None, self.model.prepared.ids_sha256["train"]):
            raise Undecided(
                f"The training rows at {self.model.source.name} are not those of the receipt, though the table that "
                "names their files is. Name the data with --data."
            )

    # --- infer -------------------------------------------------------------------------------------------------------

    def infer(self) -> str:
        """The shipped files give the stored answers: the same bytes, or the same decisions within the noise."""
        if self._place is None:
            raise _Skipped("the weights of this seed are not shipped; level train makes them again")
        self._need_data()
        self._same_training()
        self._floor()
        model = self.model.task.load(self._place, self.variant)
        rows, lines = self.model.parts.test, self.lines
        told = self.receipt.predicate.inputs
        noise = float(told.protocol.get("noise", "0"))
        if noise:  # a receipt cannot allow itself more than a machine really moves
            noise = min(noise, LOOSE * evaluate.noise(model, rows))
        moved: dict[int, Line] = {}  # index -> line made again, where its bytes are others
        differ = []
        chosen = _sampled(len(rows), self.sample)
        for done, (index, (row, answer)) in enumerate(
            zip(chosen, evaluate.answers(model, rows, chosen), strict=True), start=1
        ):
            if done % 512 == 0:
                self.model.progress.step("infer", done, len(chosen), self.answers)
            fresh = {"id": row.id, "target": self.model.task.target(row), **answer}
            if canonical(fresh) != lines.bytes(index):
                moved[index] = fresh
                if not self.model.task.agrees(lines[index], fresh, noise):
                    differ.append(row.id)
        if differ:
            raise _Differs(f"{len(differ):,} of {len(chosen):,} stored answers are not the model's.", differ)
        again = f"{len(chosen):,} of {len(lines):,} answers made again"
        if not moved:
            return f"REPRODUCED_EXACT: {again}, the same bytes"
        stored, made = (
            self._scores([of.get(index) or lines[index] for index in chosen])[0] for of in ({}, moved)
        )  # the metric of the same rows, before and now
        metric = f"{stored.metric} {made.value:.6g}, stored {stored.value:.6g}"
        return f"REPRODUCED: {again}, {len(chosen) - len(moved):,} the same bytes, the rest within noise; {metric}"

    def _need_data(self) -> None:
        """Data of the receipt are here.

        Raises:
            Undecided: they are not.
        """
        try:
            found = self.model.source.sha256
        except (NotFound, FormatError) as error:
            raise Undecided(f"The data are not here: {_first_sentence(error)}. Name them with --data.") from None
        if found != self.receipt.predicate.inputs.data.get("sha256"):
            raise Undecided("The data here are not those of the receipt. Name them with --data.")

    def _floor(self) -> None:
        """The baseline's stored answers are the baseline's."""
        name, floor = self.model.task.baseline(self.model.parts.train, self.model.options)
        rows = self.model.parts.test
        wrong = [
            row.id
            for index, (row, answer) in enumerate(evaluate.answers(floor, rows))
            if not self.model.task.agrees(
                self.model.baseline[index], {"id": row.id, "target": self.model.task.target(row), **answer}, 0.0
            )
        ]
        if wrong:
            raise _Differs(f"{len(wrong):,} stored answers of the baseline are not those of '{name}'.", wrong)

    # --- train -------------------------------------------------------------------------------------------------------

    def train(self) -> str:
        """The recipe, run again, gives this model: the same bits, or elsewhere one that is as good."""
        if "/" in self.answers:
            raise _Skipped("made from the model, which is trained again under its own receipt")
        if self.answers not in self.model.again:
            raise Contradicted("The recipe, run again, trains no such seed.")
        digest, lines = self.model.again[self.answers]
        if digest == self.receipt.model_sha256:
            return "REPRODUCED_EXACT: trained again, the same weights bit for bit"
        environment = canonical(self.receipt.predicate.inputs.environment)
        tune = self.model.recipe.tune
        alike = tune.budget.minutes is None and tune.parallel == 1  # else time, or machines of a cluster, had a say
        if environment == canonical(evaluate.environment()) and alike:
            raise Contradicted("Trained again in the same environment, the recipe gives other weights.")
        return self._as_good(lines)

    def _as_good(self, again: Lines) -> str:
        """Equivalence of two models on the same rows: the interval of the mean difference lies inside the margin."""
        mine, theirs = self.model.task.losses(again), self.model.task.losses(self.lines)
        block = self.model.task.block(self.lines)
        low, high = block_bootstrap(mine - theirs, block, self.model.recipe.evaluate.seed)
        margin = MARGIN * abs(float(self.receipt.predicate.results[0].value))
        words = f"trained again elsewhere, the mean loss differs by [{low:.2g}, {high:.2g}], the margin is {margin:.2g}"
        if -margin <= low and high <= margin:
            return f"REPRODUCED: {words}"
        if low > margin or high < -margin:
            raise Contradicted(f"{words}.".capitalize())
        raise Undecided(f"{words}: too few rows to tell.".capitalize())


def _targets(a: Lines, b: Lines) -> bool:
    """Whether two files have the same targets, row by row; as columns where there are many."""
    if len(a) > predictions.MANY and "target" in a.table.column_names and "target" in b.table.column_names:
        return bool(a.table["target"].equals(b.table["target"]))
    return all(canonical(x.get("target")) == canonical(y.get("target")) for x, y in zip(a, b, strict=True))


def _sampled(count: int, share: float) -> list[int]:
    """Indices of whole batches, spread evenly: a batch answers as it did only with the rows it had."""
    batches = list(range(0, count, evaluate.BATCH))
    wanted = max(1, round(len(batches) * share))
    chosen = [batches[int(at)] for at in np.linspace(0, len(batches) - 1, wanted).round()] if share < 1 else batches
    return [index for start in dict.fromkeys(chosen) for index in range(start, min(start + evaluate.BATCH, count))]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _same(page: str, said: Sequence[str], result: Result, *more: str) -> None:
    """A page says what the receipt says: metric, value, interval, and what more.

    Raises:
        Contradicted: it does not.
    """
    signed = [result.metric, number(result.value), interval(result.ci95), *more]
    if list(said) != signed:
        raise Contradicted(f"The {page} says {' '.join(said)}; the receipt says {' '.join(signed)}.")


def _each(value: Any) -> Iterator[dict[str, Any]]:
    """The mappings in a list that a stranger wrote."""
    if isinstance(value, list):
        yield from (each for each in value if isinstance(each, dict))


def _interval(value: str, low: str, high: str) -> str:
    return f"{_short(value)} [{_short(low)}, {_short(high)}]"


def _short(value: str) -> str:
    return f"{float(value):.4g}"


def _first_sentence(error: Exception) -> str:
    return str(error).split(". ")[0].rstrip(".")
