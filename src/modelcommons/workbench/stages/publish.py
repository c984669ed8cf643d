"""publish: the model folder, put together in one step, its card's numbers taken from receipts; then the upload."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import modelcommons
from modelcommons.errors import LicenceError
from modelcommons.formats import bom, card, licence, receipt
from modelcommons.formats.digest import file_sha256
from modelcommons.formats.licence import Decision, Work
from modelcommons.formats.model_folder import MODEL_TYPE, read_config
from modelcommons.formats.predictions import read
from modelcommons.workbench.engine.progress import Progress
from modelcommons.workbench.folder import RunFolder, replacing
from modelcommons.workbench.privacy import patterns
from modelcommons.workbench.recipe import Recipe, dump, shareable
from modelcommons.workbench.stages import report
from modelcommons.workbench.stages.evaluate import Evaluated, Evaluation
from modelcommons.workbench.stages.explain import Explained
from modelcommons.workbench.stages.get import Got
from modelcommons.workbench.stages.prepare import Prepared
from modelcommons.workbench.stages.report.sections import Facts, receipt_path
from modelcommons.workbench.stages.shrink import Shrunk
from modelcommons.workbench.stages.tune import Tuned
from modelcommons.workbench.stages.upload import endpoint, upload
from modelcommons.workbench.task import Carries, Cautions, Draws, HasContent, Source, Task

QUOTES = ("predictions/*", "report.html")  # hold targets and examples: parts of the data


@dataclass(frozen=True, slots=True)
class Published:
    folder: str  # of the model, relative to the run folder
    license: str
    repo: str | None  # where it was uploaded
    commit: str | None
    receipts: int


def publish(
    task: Task,
    got: Got,
    data: Prepared,
    tuned: Tuned,
    scored: Evaluated,
    explained: Explained,
    shrunk: Shrunk,
    recipe: Recipe,
    folder: RunFolder,
    progress: Progress,
) -> Published:
    """Leaves the folder in `model/`: at any moment it holds what was there before, or all of the new.

    Raises:
        LicenceError: the licences of base model and data conflict, one is unknown, or one forbids an upload.
        UsageError: no token or no permission for the upload; the folder is complete all the same.
        NotFound: the hub cannot be reached; the folder is complete all the same.
    """
    decision = decide(got, recipe, tuned.choice.index).agreed()
    if recipe.publish.repo and not decision.uploads:
        raise LicenceError(
            f"publish.repo: expected none for data without a licence, got {recipe.publish.repo}. Leave it out: what "
            "was measured stays here."
        )
    trained = folder.path / tuned.model
    carried = tuple(task.carried(trained)) if isinstance(task, Carries) else ()
    if recipe.publish.repo and carried and not decision.quotes:
        raise LicenceError(
            f"publish.repo: expected a model without rows of {got.source.name}, which may not be passed on; got one "
            f"that holds them ({', '.join(carried)}). Train one that keeps none, or leave publish.repo out."
        )
    with replacing(folder.model) as part:
        _collect(part, folder, tuned, scored, shrunk)
        _describe(part, _facts(part, task, got, data, tuned, scored, explained, shrunk, recipe, decision, carried))
    receipts = len(list((folder.model / "receipts").rglob("*.json")))
    commit = None
    if recipe.publish.repo:
        leave_out = () if decision.quotes else QUOTES
        message = f"Publish {recipe.publish.name or recipe.name}"
        commit = upload(folder.model, recipe.publish.repo, recipe.publish.visibility, leave_out, message)
    where = f"{recipe.publish.repo}@{commit[:7]}" if recipe.publish.repo and commit else str(folder.model)
    progress.line(
        "publish",
        f"{where}  {decision.license} · card · {receipts} {'receipt' if receipts == 1 else 'receipts'} · signed",
    )
    return Published(folder.model.name, decision.license, recipe.publish.repo, commit, receipts)


def decide(got: Got, recipe: Recipe, index: int = 0) -> Decision:
    """The licence of what this recipe makes; before hours of training it can be asked what publishing will say.

    Args:
        index: of the model chosen among the candidates of `model.auto`.
    """
    origin = got.origins[index]
    base = [Work(origin.name, origin.licence)] if origin else []
    data = [Work(got.source.name, got.source.licence)]
    wish = recipe.publish
    return licence.derive(base, data, wish.license, wish.repo or wish.name, wish.language)


# --- putting together -----------------------------------------------------------------------------------------------


def _collect(part: Path, folder: RunFolder, tuned: Tuned, scored: Evaluated, shrunk: Shrunk) -> None:
    """Copies what earlier stages made: the model, accepted exports, predictions and receipts of all that was scored."""
    shutil.copytree(folder.path / tuned.model, part, dirs_exist_ok=True)
    accepted = [export for export in shrunk.exports if export.accepted]
    for export in accepted:
        for path in (folder.path / "shrink" / export.path).parent.glob(f"{Path(export.path).name}*"):  # weights apart
            _copy(path, part / Path(export.path).with_name(path.name))
    _copy(folder.path / scored.baseline_predictions, part / "predictions/baseline.jsonl.gz")
    for evaluation in (scored.main, *scored.others, *(export.evaluation for export in accepted)):
        _copy(folder.path / evaluation.predictions, part / _predictions(evaluation))
        _copy(folder.path / evaluation.receipt, part / receipt_path(evaluation.name))


def _predictions(evaluation: Evaluation) -> str:
    return f"predictions/{evaluation.name}.jsonl.gz"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _facts(
    part: Path,
    task: Task,
    got: Got,
    data: Prepared,
    tuned: Tuned,
    scored: Evaluated,
    explained: Explained,
    shrunk: Shrunk,
    recipe: Recipe,
    decision: Decision,
    carried: tuple[str, ...],
) -> Facts:
    """All that card and report may say; scores as the receipts in `part` say them."""
    exports = [export.evaluation for export in shrunk.exports if export.accepted]
    shipped = (scored.main, *scored.others, *exports)
    private = _private(task, data, explained) if "personal-data" in recipe.data.checks else set()
    examples = tuple(example for example in explained.examples if example.id not in private)
    repo = recipe.publish.repo
    return Facts(
        title=recipe.publish.name or (repo.split("/")[-1] if repo else recipe.name),
        address=repo or "model",
        url=f"{endpoint()}/{repo}/blob/main" if repo else None,
        recipe=shareable(recipe),
        got=got,
        data=data,
        tuned=tuned,
        scored=scored,
        explained=replace(explained, examples=examples),
        num_private=len(private),
        shrunk=shrunk,
        decision=decision,
        receipts={each.name: receipt.read(part / receipt_path(each.name)) for each in shipped},
        version=modelcommons.__version__,
        has_transformers=_has_transformers(part),
        figures=_figures(task, part / _predictions(scored.main), recipe.publish.language),
        caution=task.caution[recipe.publish.language] if isinstance(task, Cautions) else "",
        carried=carried,
    )


def _describe(part: Path, facts: Facts) -> None:
    """Writes recipe, card, report and notices, and the receipts' numbers in the formats of others."""
    (part / bom.NAME).write_text(_bill(part, facts), encoding="utf-8")
    source = facts.got.source
    if _on_hub(source):
        results = part / card.EVAL_RESULTS
        results.parent.mkdir(exist_ok=True)
        path = receipt_path(facts.scored.main.name)
        results.write_text(
            card.eval_results(source.name, source.revision, path, facts.receipt, facts.url), encoding="utf-8"
        )
    (part / "recipe.yaml").write_text(dump(facts.recipe), encoding="utf-8")
    (part / "README.md").write_text(card.write(front_matter(facts), report.card(facts)), encoding="utf-8")
    (part / "report.html").write_text(report.report(facts), encoding="utf-8")
    if facts.decision.notices:
        (part / "NOTICE").write_text("\n".join(facts.decision.notices) + "\n", encoding="utf-8")


def _on_hub(source: Source) -> bool:
    return bool(card.HUB_ID.fullmatch(source.name) and source.revision)


def _bill(part: Path, facts: Facts) -> str:
    """The bill of materials; a file belongs to the export of its name, all others to the model."""
    paths = sorted(path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file())
    files = {path: file_sha256(part / path) for path in paths if not path.startswith(("predictions/", "receipts/"))}
    exports = [export for export in facts.shrunk.exports if export.accepted]

    def scored(evaluation: Evaluation, title: str, of: Callable[[str], bool]) -> bom.Scored:
        place = receipt_path(evaluation.name)
        mine = {path: digest for path, digest in files.items() if of(path)}
        return bom.Scored(title, mine, facts.receipts[evaluation.name], place, file_sha256(part / place))

    source, origin = facts.got.source, facts.origin
    return bom.write(
        scored(facts.scored.main, facts.title, lambda path: not path.startswith("onnx/")),
        [scored(each.evaluation, each.path, _of(each.path)) for each in exports],
        bom.Work(source.name, source.revision, source.licence, source.sha256, source.homepage),
        bom.Work(origin.name, origin.revision, origin.licence, origin.sha256) if origin else None,
        task=facts.recipe.task,
        licence=facts.decision.name,
        tool=facts.version,
    )


def _of(export: str) -> Callable[[str], bool]:
    """Whether a path is of an export: the file itself, or weights that stand beside it."""
    return lambda path: path == export or path.startswith(f"{export}.") or path.startswith(f"{export}_")


def front_matter(facts: Facts) -> dict[str, Any]:
    """The card's metadata, as the Hub understands it."""
    task, origin, source = facts.recipe.task, facts.origin, facts.got.source
    exported = any(export.accepted for export in facts.shrunk.exports)
    seeds = {each.name for each in facts.scored.others}  # they are not what the card is of
    receipts = {receipt_path(name): found for name, found in facts.receipts.items() if name not in seeds}
    return {
        "license": facts.decision.license,
        "license_name": facts.decision.license_name,
        "library_name": "transformers" if facts.has_transformers else "modelcommons",
        "pipeline_tag": card.PIPELINE_TAGS.get(task, task),
        "tags": ["modelcommons", task, "receipts", *(["onnx"] if exported else [])],
        "base_model": [origin.name.split("@")[0]]
        if origin and card.HUB_ID.fullmatch(origin.name.split("@")[0])
        else [],
        "datasets": [source.name] if _on_hub(source) else [],
        "metrics": list(facts.receipt.results),
        "model-index": card.model_index(facts.title, task, source.name, source.revision, receipts, facts.url),
    }


def _private(task: Task, data: Prepared, explained: Explained) -> set[str]:
    """Ids of explained rows in which personal data are found: they are not shown to others."""
    if not isinstance(task, HasContent):
        return set()
    wanted, test = {example.id for example in explained.examples}, data.parts.test
    rows = [test[index] for index, id in enumerate(test.ids()) if id in wanted]
    contents = {row.id: task.content(row) for row in rows}
    return {id for id, content in contents.items() if isinstance(content, str) and patterns.find(content)}


def _figures(task: Task, predictions: Path, language: Literal["en", "zh"]) -> tuple[tuple[str, str], ...]:
    if not isinstance(task, Draws):
        return ()
    return tuple(task.figures(read(predictions), language))


def _has_transformers(part: Path) -> bool:
    """Whether the folder is one of the transformers library, which then loads it alone."""
    return not str(read_config(part)["model_type"]).startswith(MODEL_TYPE)
