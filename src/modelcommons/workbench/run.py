"""the spine: one recipe, seven stages, a model folder whose every number has a receipt."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import Field, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import TypeAdapter

import modelcommons
from modelcommons.errors import DataError
from modelcommons.formats.canonical import canonical
from modelcommons.formats.digest import sha256
from modelcommons.workbench import fields
from modelcommons.workbench.engine import ranks
from modelcommons.workbench.engine.energy import Energy, Meter
from modelcommons.workbench.engine.progress import Progress, Silent
from modelcommons.workbench.find import settled
from modelcommons.workbench.folder import RunFolder, write
from modelcommons.workbench.recipe import AUTO, ModelSection, Recipe, dump
from modelcommons.workbench.resolve import resolve
from modelcommons.workbench.stages.evaluate import Evaluated, evaluate
from modelcommons.workbench.stages.explain import Explained, explain
from modelcommons.workbench.stages.get import Got, get
from modelcommons.workbench.stages.prepare import Prepared, prepare
from modelcommons.workbench.stages.publish import Published, publish
from modelcommons.workbench.stages.shrink import Shrunk, shrink
from modelcommons.workbench.stages.tune import Tuned, Tuning, tune
from modelcommons.workbench.task import Task


class Drew(Protocol):
    """What a stage comes to, with the electricity it took."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def energy(self) -> Energy | None: ...


Value = TypeVar("Value")
Drawn = TypeVar("Drawn", bound=Drew)

# stage -> the recipe sections that its result depends on; a change elsewhere does not run it again
MODEL = ("task", "model", "data", "tune")
DEPENDS: dict[str, tuple[str, ...]] = {
    "tune": MODEL,
    "evaluate": (*MODEL, "evaluate"),
    "explain": (*MODEL, "evaluate", "explain"),
    "shrink": (*MODEL, "evaluate", "shrink"),
}


@dataclass(frozen=True)
class Run:
    """A finished run: what every stage came to, and the folder that holds it all."""

    folder: Path
    recipe: Recipe
    data: dict[str, Any]  # the report of prepare
    tuned: Tuned
    scored: Evaluated
    explained: Explained
    shrunk: Shrunk
    published: Published

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{score.metric}</td><td>{score.value:.4g}</td><td>[{score.low:.4g}, {score.high:.4g}]</td>"
            f"<td>{floor.value:.4g}</td></tr>"
            for score, floor in zip(self.scored.main.scores, self.scored.main.baseline, strict=True)
        )
        head = "<tr><th>metric</th><th>value</th><th>95 % interval</th><th>baseline</th></tr>"
        return f"<table>{head}{rows}</table>"


def run(recipe: Recipe, folder: Path | None = None, progress: Progress | None = None) -> Run:
    """Runs a recipe from data to model folder; run again after a kill, it goes on where it was.

    Args:
        folder: the run folder; `runs/<name>-<digest>` in the current folder when not given.

    Raises:
        CommonsError: see `modelcommons.errors`; nothing is half written.
    """
    progress = progress or Silent()
    task = resolve(recipe)
    if recipe.shrink.formats:
        fields.need_exporters()
    home = RunFolder(folder or default_folder(recipe))
    with fields.needed(task), home.locked():
        ranks.join()
        done = stages(task, recipe, home, progress)
        ranks.part()
        return done


def follow(recipe: Recipe) -> None:
    """The part of every process but the first of those that torchrun started: to train beside it. It leaves nothing.

    Raises:
        CommonsError: as `run` does.
    """
    with fields.needed(resolve(recipe)), tempfile.TemporaryDirectory(prefix="commons-rank-") as name:
        ranks.join()
        told = ranks.shared()  # once the first has its data, so that nothing is fetched twice
        with beside(told, Path(name), RunFolder(Path(name))) as tuning:
            tuning.follow()
        ranks.part()


@contextmanager
def beside(told: dict[str, Any], scratch: Path, folder: RunFolder) -> Iterator[Tuning]:
    """The trainings of a run that another process leads, on the same data, which this process finds for itself.

    Args:
        told: the run's recipe, every model named, and the digests of its split.
        scratch: for what `prepare` writes.
        folder: where it trains.
    """
    recipe = Recipe.model_validate(told["recipe"])
    task = resolve(recipe)
    with fields.needed(task):
        got = get(task, recipe, Silent())
        data = prepare(task, got.source, recipe, RunFolder(scratch), Silent())
        if dict(data.ids_sha256) != told["split"]:
            raise DataError(f"A process found other rows in {recipe.data.source} than the first one.")
        yield Tuning(task, got, data.parts, recipe, folder, Silent(), told)


def stages(task: Task, recipe: Recipe, folder: RunFolder, progress: Progress) -> Run:
    """get, prepare, tune, evaluate, explain, shrink, publish."""
    recipe = _settled(task, recipe, folder, progress)
    write(folder.path / "recipe.yaml", dump(recipe))
    got = get(task, recipe, progress)
    data = prepare(task, got.source, recipe, folder, progress)

    def once(name: str, kind: type[Drawn], work: Callable[[], Drawn]) -> Drawn:
        return _once(name, kind, lambda: _metered(name, work, folder), folder, _key(name, recipe, got, data))

    told = {"recipe": recipe.model_dump(mode="json", by_alias=True), "split": dict(data.ids_sha256)}
    ranks.shared(told)
    tuned = once("tune", Tuned, lambda: tune(task, got, data.parts, recipe, folder, progress, told))
    ranks.shared(None)  # those who trained beside this process may go
    scored = once("evaluate", Evaluated, lambda: evaluate(task, tuned, got, data, recipe, folder, progress))
    explained = once("explain", Explained, lambda: explain(task, tuned, data, scored, recipe, folder, progress))
    shrunk = once("shrink", Shrunk, lambda: shrink(task, tuned, got, data, scored, recipe, folder, progress))
    published = publish(task, got, data, tuned, scored, explained, shrunk, recipe, folder, progress)
    return Run(folder.path, recipe, data.report, tuned, scored, explained, shrunk, published)


def _settled(task: Task, recipe: Recipe, folder: RunFolder, progress: Progress) -> Recipe:
    """The recipe with every model named; what was found once for a run is what it goes on with."""
    if recipe.model.from_ != AUTO:
        return recipe
    key = sha256(canonical({"stage": "find", "recipe": recipe.digest(("task", "model"))}))
    model = _once("find", ModelSection, lambda: settled(recipe, task, progress).model, folder, key)
    return recipe.model_copy(update={"model": model})


def default_folder(recipe: Recipe) -> Path:
    """`runs/<name>-<8 digits>`: the same model-making sections, the same folder, whatever else changes."""
    return Path("runs") / f"{recipe.name}-{recipe.digest(MODEL)[:8]}"


def _once(name: str, kind: type[Value], work: Callable[[], Value], folder: RunFolder, key: str) -> Value:
    """The stage's result: as it was left when it finished with this key, else made now."""
    adapter = TypeAdapter(kind)
    done = folder.finished(name, key)
    if done is not None:
        return adapter.validate_python(done)
    folder.restart(name, key)
    value = work()
    folder.finish(name, key, adapter.dump_python(value, mode="json"))
    return value


def _metered(name: str, work: Callable[[], Drawn], folder: RunFolder) -> Drawn:
    """The stage's result with what it drew, over all resumptions."""
    with Meter(folder.stage(name) / "energy.json") as meter:
        value = work()
        return replace(value, energy=meter.energy())


def _key(name: str, recipe: Recipe, got: Got, data: Prepared) -> str:
    """Digest of all that the stage's result depends on: recipe sections, data, split, base models, our version."""
    return sha256(
        canonical(
            {
                "stage": name,
                "recipe": recipe.digest(DEPENDS[name]),
                "data": got.source.sha256,
                "split": dict(data.ids_sha256),
                "models": [origin and origin.sha256 for origin in got.origins],
                "version": modelcommons.__version__,
            }
        )
    )
