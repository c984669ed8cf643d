"""get: the data and the open models that a recipe names, on this machine, digested before anything reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelcommons.errors import NotFound, UnsafeFile
from modelcommons.formats.digest import file_sha256, tree_sha256
from modelcommons.formats.safetensors import HOW, PICKLES, check, refuse_pickles
from modelcommons.workbench import sources
from modelcommons.workbench.engine.progress import Progress
from modelcommons.workbench.recipe import DataSection, ModelChoice, Recipe
from modelcommons.workbench.sources import about, hub
from modelcommons.workbench.task import Choice, Source, Task

# what a base model is loaded from; a whole model of ours also has exports, receipts and predictions
LOADED = (".safetensors", ".json", ".txt", ".model", ".spm", ".tiktoken", ".jinja")
PUBLISHED = (*LOADED, ".onnx", ".md", ".yaml", ".html", ".gz")


@dataclass(frozen=True, slots=True)
class Origin:
    """An open model as it was found."""

    name: str
    revision: str | None  # commit, for a model from the hub
    licence: str | None  # SPDX or Hub identifier; None when nobody said
    sha256: str  # tree digest over the files that can be loaded
    size: int  # parameters


@dataclass(frozen=True, slots=True)
class Got:
    source: Source
    choices: tuple[Choice, ...]  # one, or all candidates of `model.auto`
    origins: tuple[Origin | None, ...]  # of each choice; None for a new architecture


def get(task: Task, recipe: Recipe, progress: Progress) -> Got:
    """Finds data and models; nothing is fetched that is in the cache, nothing unsafe is fetched at all.

    Raises:
        NotFound: a file, folder, data set or model is not there.
        UnsafeFile: a model has its weights as a pickle only, or a data set is a script.
        FormatError: weights are cut off.
    """
    source = get_source(recipe.data)
    found = [_find(task, asked) for asked in recipe.model.auto or (recipe.model,)]
    names = ", ".join(_words(choice, origin) for choice, origin in found)
    progress.line("get", f"{names} · {_source_words(source)}")
    return Got(source, tuple(choice for choice, _ in found), tuple(origin for _, origin in found))


def get_source(data: DataSection) -> Source:
    """The data files that a recipe names, digested."""
    return sources.find(data.source, data.revision, data.license)


def get_model(name: str) -> Path:
    """The folder of a whole model: `id` or `id@revision` on the hub, or a folder; with exports and receipts.

    Raises:
        NotFound: there is none.
        UnsafeFile: its weights are a pickle.
    """
    folder, _ = _model_folder(name, PUBLISHED, nested=True)
    return folder


def _find(task: Task, asked: ModelChoice) -> tuple[Choice, Origin | None]:
    if asked.from_ is None:
        return Choice(None, asked.new or next(iter(task.architectures)), asked.options), None
    folder, commit = _model_folder(asked.from_, LOADED, nested=False)
    name = asked.from_ if commit else folder.name  # a folder's place on this machine is nobody's business
    return Choice(folder, name, asked.options), _origin(name, folder, commit)


def _model_folder(name: str, suffixes: Sequence[str], nested: bool) -> tuple[Path, str | None]:
    """Where the model's files are, and the commit for one from the hub."""
    folder = Path(name).expanduser()
    commit = None
    if not folder.exists():
        id, _, revision = name.partition("@")
        if not sources.HUB_ID.fullmatch(id):
            raise NotFound(f"Expected a model folder at {name}, found nothing. Check the path, or name a hub id.")

        def choose(paths: Sequence[str], _: Path) -> list[str]:
            wanted = [path for path in paths if path.endswith(tuple(suffixes)) and (nested or "/" not in path)]
            _want_safetensors(name, paths, wanted)
            return wanted

        kept = hub.snapshot(id, revision or None, "model", choose)
        folder, commit = kept.folder, kept.commit
    if not (folder / "config.json").is_file():
        raise NotFound(f"Expected a model folder with config.json at {name}; there is none. Check the path or hub id.")
    refuse_pickles(folder)
    return folder.resolve(), commit


def _want_safetensors(name: str, paths: Sequence[str], wanted: Sequence[str]) -> None:
    pickles = [path for path in paths if path.endswith(PICKLES)]
    if pickles and not any(path.endswith(".safetensors") for path in wanted):
        raise UnsafeFile(
            f"{name} has its weights only as {pickles[0]}, a pickle that could run code when loaded. {HOW}"
        )


def _origin(name: str, folder: Path, commit: str | None) -> Origin:
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in LOADED)
    files = [(path.name, path.stat().st_size, file_sha256(path)) for path in paths]
    size = sum(check(path).num_parameters for path in paths if path.suffix == ".safetensors")
    licence = about.card_licence(folder) or about.text_licence(folder)
    return Origin(name, commit, licence, tree_sha256(files), size)


def _words(choice: Choice, origin: Origin | None) -> str:
    """`minilm-l6 (Apache-2.0, 22.7 M)`."""
    if origin is None:
        return choice.name
    return f"{Path(choice.name).name} ({origin.licence or 'licence unknown'}, {origin.size / 1e6:.1f} M)"


def _source_words(source: Source) -> str:
    """`ag-news@3f2a81c0 (CC-BY-4.0)  2 files, 12.1 MB`."""
    size = sum(file.size for file in source.files)
    noun = "file" if len(source.files) == 1 else "files"
    licence = source.licence or "licence unknown"
    return f"{source.name}@{source.sha256[:8]} ({licence})  {len(source.files):,} {noun}, {_size(size)}"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.1f} kB"
