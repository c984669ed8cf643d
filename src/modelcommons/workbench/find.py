"""find: models in folders and on a hub that fit what is asked, by their cards and by receipts whose signatures hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from modelcommons.errors import CommonsError, NotFound, UsageError
from modelcommons.formats import receipt, safetensors
from modelcommons.formats.card import HUB_ID, PIPELINE_TAGS, read_front_matter
from modelcommons.formats.checked import near
from modelcommons.workbench import fields, protocols
from modelcommons.workbench.engine.progress import Progress, Silent
from modelcommons.workbench.recipe import AUTO, ModelChoice, ModelSection, Recipe
from modelcommons.workbench.serve import find_task
from modelcommons.workbench.sources import hub
from modelcommons.workbench.stages.report.sections import receipt_path
from modelcommons.workbench.task import Task

BOUND = re.compile(r"\s*([a-z][a-z0-9_@.]*)\s*(>=|<=)\s*(-?[0-9.]+(?:e-?[0-9]+)?)\s*")
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMBT]?)", re.IGNORECASE)
UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
MAIN = receipt_path("model")  # the receipt of the model itself; those of its exports stand beside it
MOST = 200  # models of a hub that are looked at
LARGEST = 150_000_000  # parameters of a candidate for `model.from: auto`, which is to be tried within minutes
CANDIDATES = 3


@dataclass(frozen=True, slots=True)
class Bound:
    """`accuracy>=0.9`."""

    metric: str
    side: Literal[">=", "<="]
    value: float

    def holds(self, value: float) -> bool:
        return value >= self.value if self.side == ">=" else value <= self.value


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of a receipt, which its signer vouches for."""

    metric: str
    direction: Literal["higher", "lower"]  # which is better
    value: float
    low: float  # 95 % interval
    high: float
    protocol: str  # its name, or that it is the task's own
    rows: int
    signer: str  # fingerprint of the key


@dataclass(frozen=True, slots=True)
class Found:
    """One model: a folder, or an id on the hub."""

    name: str
    task: str
    licence: str | None
    languages: tuple[str, ...]
    parameters: int | None  # None: its card and files do not say
    downloads: int | None  # None: a folder
    commit: str | None  # of the hub's; None: a folder
    has_receipts: bool
    measured: tuple[Measured, ...] = ()  # the numbers asked for; the main one where none was


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; what is empty is not asked."""

    words: tuple[str, ...] = ()  # all of them in the name
    tasks: tuple[str, ...] = ()  # any of them
    licence: str = ""
    language: str = ""
    sizes: tuple[float, float] = (0, float("inf"))  # parameters, at least and at most
    protocol: str = ""
    bounds: tuple[Bound, ...] = ()
    tags: tuple[str, ...] = ()  # more that the hub is to look for

    @property
    def needs_receipt(self) -> bool:
        return bool(self.protocol or self.bounds)

    def fits(self, found: Found) -> bool:
        """Whether the card is what was asked for; receipts are looked at apart."""
        return (
            all(word.lower() in found.name.lower() for word in self.words)
            and (not self.tasks or found.task in self.tasks)
            and (not self.licence or (found.licence or "").lower() == self.licence.lower())
            and (not self.language or self.language.lower() in map(str.lower, found.languages))
            and (self.sizes == (0, float("inf")) or self.sizes[0] <= (found.parameters or -1) <= self.sizes[1])
        )


def wanted(
    words: Sequence[str] = (),
    *,
    task: str = "",
    field: str = "",
    licence: str = "",
    language: str = "",
    size: str = "",
    protocol: str = "",
    metrics: Sequence[str] = (),
) -> Wanted:
    """What is looked for, from the words of a person.

    Args:
        size: parameters: `50M` (at most), `1M..50M`, `1M..`.
        metrics: bounds such as `accuracy>=0.9`, which a receipt's numbers have to keep.

    Raises:
        NotFound: there is no such task or protocol.
        UsageError: no such field, or a size or bound that is none.
    """
    if task:
        fields.find(task)
    if protocol:
        of = protocols.find(protocol).task
        if task and task != of:
            raise UsageError(f"{protocol} is about {of}, not {task}. Leave one of them out.")
        task = of
    tasks: tuple[str, ...] = (task,) if task else ()
    if field:
        folders = {module.partition(".")[0] for module in fields.TASKS.values()}
        if field not in folders:
            raise UsageError(f"There is no field '{field}'. {near(field, sorted(folders))}")
        of_field = tuple(name for name, module in fields.TASKS.items() if module.startswith(f"{field}."))
        tasks = tuple(name for name in of_field if not task or name == task)
        if not tasks:
            raise UsageError(f"{task} is no task of the field {field}. Leave one of them out.")
    return Wanted(tuple(words), tasks, licence, language, _sizes(size), protocol, tuple(map(_bound, metrics)))


def _bound(text: str) -> Bound:
    if not (found := BOUND.fullmatch(text)):
        raise UsageError(f"Expected a bound such as accuracy>=0.9 or mse<=0.4, got '{text}'.")
    return Bound(found[1], ">=" if found[2] == ">=" else "<=", float(found[3]))


def _sizes(text: str) -> tuple[float, float]:
    least, _, most = text.rpartition("..")
    ends = [SIZE.fullmatch(end.strip()) for end in (least, most) if end.strip()]
    if (text and not ends) or not all(ends):
        raise UsageError(f"Expected a number of parameters such as 50M, 1M..50M or 1M.., got '{text}'.")

    def number(end: str, otherwise: float) -> float:
        found = SIZE.fullmatch(end.strip())
        return float(found[1]) * UNITS[found[2].upper()] if found else otherwise

    return number(least, 0), number(most, float("inf"))


def find(
    asked: Wanted, folders: Sequence[Path] = (), *, on_hub: bool = True, limit: int = 20,
    progress: Progress | None = None,
) -> list[Found]:  # fmt: skip
    """The models that fit: where numbers are asked for the best first, else the most downloaded.

    A number counts where the receipt's signature holds; that the weights are those it is about is for `verify` to say.

    Args:
        folders: looked through for model folders, as far down as they go.
        on_hub: whether the hub at HF_ENDPOINT is asked too.

    Raises:
        NotFound: a folder is not there, or the hub cannot be reached.
    """
    progress = progress or Silent()
    found = [one for folder in folders for one in _in_folder(folder, asked)]
    found += _on_hub(asked) if on_hub else []
    if not asked.needs_receipt:
        return [_with_numbers(one, asked) or one for one in sorted(found, key=_most_used)[:limit]]
    measured = []
    for number, one in enumerate(found):
        progress.step("find", number, len(found), one.name)
        measured += [whole] if (whole := _with_numbers(one, asked)) else []
    return sorted(measured, key=_best)[:limit]


def _best(found: Found) -> float:
    number = found.measured[0]
    return -number.value if number.direction == "higher" else number.value


def settled(recipe: Recipe, task: Task, progress: Progress) -> Recipe:
    """The recipe with names for `model.from: auto`: the models most used on the hub that the task can adapt, each at
    its commit, to be tried for the same short time as candidates that a person names. Other recipes stay as they are.

    Raises:
        NotFound: the hub cannot be reached, or has none.
    """
    if recipe.model.from_ != AUTO:
        return recipe
    asked = Wanted(tasks=task.open_models, sizes=(1, LARGEST), tags=("transformers",))
    found = [one for one in _on_hub(asked) if one.licence]  # without one nothing made from it could be published
    names = [f"{one.name}@{one.commit}" for one in sorted(found, key=_most_used)[:CANDIDATES]]
    if not names:
        raise NotFound(f"The hub has no open model for {task.name} of at most {LARGEST:,} parameters. Name one.")
    progress.line("find", ", ".join(names))
    candidates = tuple(ModelChoice.model_validate({"from": name}) for name in names)
    return recipe.model_copy(update={"model": ModelSection(auto=candidates, try_minutes=recipe.model.try_minutes)})


def _most_used(found: Found) -> int:
    return -(found.downloads or 0)


def _measured(read: receipt.Receipt, asked: Wanted) -> tuple[Measured, ...] | None:
    """The numbers asked for; None where the receipt does not have them, or they do not keep their bounds."""
    said = read.predicate
    protocol = str(said.inputs.protocol.get("name", ""))
    results = read.results
    if asked.protocol and protocol != asked.protocol:
        return None
    if not all(bound.metric in results and bound.holds(float(results[bound.metric].value)) for bound in asked.bounds):
        return None
    names = dict.fromkeys(bound.metric for bound in asked.bounds) or [said.results[0].metric]
    return tuple(
        Measured(
            name, one.direction, float(one.value), float(one.ci95.low), float(one.ci95.high), protocol,
            said.predictions.count, read.fingerprint,
        )
        for name, one in ((name, results[name]) for name in names)
    )  # fmt: skip


def _with_numbers(found: Found, asked: Wanted) -> Found | None:
    """The model with its numbers; None where it has no signed receipt that tells those asked for."""
    if not found.has_receipts:
        return None
    try:
        folder = Path(found.name) if found.commit is None else hub.fetch(found.name, found.commit, [MAIN])
        numbers = _measured(receipt.read(folder / MAIN), asked)
    except CommonsError:  # none, damaged, forged, or not for our eyes
        return None
    return None if numbers is None else replace(found, measured=numbers)


# --- folders --------------------------------------------------------------------------------------------------------


def _in_folder(folder: Path, asked: Wanted) -> Iterator[Found]:
    if not folder.is_dir():
        raise NotFound(f"Expected a folder with models at {folder}, there is none. Check the path.")
    for card in sorted(folder.rglob("README.md")):
        if not (card.with_name("config.json")).is_file():
            continue
        try:
            found = _read(card.parent)
        except (CommonsError, OSError, UnicodeDecodeError):  # a folder that is no model's
            continue
        if asked.fits(found):
            yield found


def _read(folder: Path) -> Found:
    front = read_front_matter((folder / "README.md").read_text(encoding="utf-8"))
    weights = sorted(folder.glob("*.safetensors"))
    parameters = sum(safetensors.check(path).num_parameters for path in weights) if weights else None
    return Found(
        str(folder), find_task(folder).name, _word(front.get("license")), _words(front.get("language")), parameters,
        None, None, (folder / MAIN).is_file(),
    )  # fmt: skip


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _words(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else (value,) if isinstance(value, str) else ()


# --- hub ------------------------------------------------------------------------------------------------------------


def _on_hub(asked: Wanted) -> list[Found]:
    models = hub.models(_filters(asked), " ".join(asked.words), _pipeline_tags(asked))
    told = (_told(model) for model in models)
    return list(islice((found for found in told if found and asked.fits(found)), MOST))


def _filters(asked: Wanted) -> list[str]:
    """Tags that the hub looks for, so that it sends no more than it has to."""
    told = [f"license:{asked.licence.lower()}"] if asked.licence else []
    told += [asked.language.lower()] if asked.language else []
    # a pipeline tag of another's name does not tell our tasks apart; a tag does
    told += list(asked.tasks) if len(asked.tasks) == 1 and asked.tasks[0] in PIPELINE_TAGS else []
    return [*told, *asked.tags, *(["receipts"] if asked.needs_receipt else [])]


def _pipeline_tags(asked: Wanted) -> Sequence[str | None]:
    return list(dict.fromkeys(PIPELINE_TAGS.get(task, task) for task in asked.tasks)) or [None]  # None: any


def _told(model: Any) -> Found | None:
    """What a hub's list says of a model; None where it names no model."""
    if not HUB_ID.fullmatch(str(model.id)):
        return None
    tags = [str(tag) for tag in model.tags or ()]
    front = dict(model.card_data.to_dict()) if model.card_data else {}
    task = next((tag for tag in tags if tag in fields.TASKS), str(model.pipeline_tag or ""))
    licence = next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), None)
    total = getattr(model.safetensors, "total", None) if model.safetensors else None
    return Found(
        str(model.id), task, licence, _words(front.get("language")), int(total) if total else None,
        int(model.downloads or 0), str(model.sha), "receipts" in tags,
    )  # fmt: skip
