"""Recipe: everything a run depends on, one frozen value.

A file may build on one other (`extends: other.yaml`), take values from the environment (`${NAME}`, `${NAME:-default}`;
`$${` stands for `${`), and be changed on the command line (`tune.epochs=3`). Relative paths are relative to the file
they stand in. `dump` writes all of it out: what a run folder keeps needs neither parent nor environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from modelcommons.errors import NotFound, RecipeError
from modelcommons.formats import yaml
from modelcommons.formats.canonical import canonical
from modelcommons.formats.checked import check
from modelcommons.formats.digest import sha256
from modelcommons.formats.yaml import At
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.task import Split

STRICT = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
Share = Annotated[float, Field(ge=0, le=1)]
WAYS = {"from", "new", "auto"}  # to say which model
AUTO = "auto"  # `model.from: auto`: candidates are looked for
NAME = r"^[^/\\\s.][^/\\]{0,99}$"
VARIABLE = re.compile(r"\$(?:\$\{|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\{)")


class ModelChoice(BaseModel):
    """One model: an open one (`from`) or a new one (`new`)."""

    model_config = STRICT

    from_: str | None = Field(
        None, alias="from",
        description="An open model: a hub id, `id@revision`, a folder, or `auto`: those most used are tried.",
    )  # fmt: skip
    new: str | None = Field(None, description="A new architecture of the task, by name; see `commons tasks`.")
    options: dict[str, Any] = Field({}, description="Options of the new architecture; see the reference.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        """Exactly one way to say which model."""
        said = [key for key, value in self._ways().items() if value]
        if len(said) != 1:
            raise ValueError(f"expected one of {_and(self._ways())}, got {_and(said) if said else 'none of them'}.")
        if self.options and not self.new:
            raise ValueError(f"options belong to a `new` architecture, got them beside `{said[0]}`. Remove them.")
        return self

    def _ways(self) -> dict[str, Any]:
        return {"from": self.from_, "new": self.new}


class ModelSection(ModelChoice):
    """`model`: exactly one of `from`, `new` and `auto`. `from: auto` asks the hub for candidates; see find.py."""

    auto: tuple[ModelChoice, ...] | None = Field(
        None, description="Candidates: each is tried for an equal short budget on validation data, the best is tuned."
    )
    try_minutes: Annotated[float, Field(gt=0)] = Field(1.0, description="Budget of each candidate under `auto`.")

    def _ways(self) -> dict[str, Any]:
        return {**super()._ways(), "auto": self.auto}


class DataSection(BaseModel):
    """`data`: where rows come from and what is checked before anything is trained."""

    model_config = STRICT

    source: str = Field(description="A file, a folder, `bundled:NAME`, or a hub data set id.")
    revision: str | None = Field(None, description="Revision of a hub data set.")
    license: str | None = Field(
        None,
        description="Licence of the data where the source does not say it; `measurement-only` where nobody gave one.",
    )
    columns: dict[str, str] = Field(
        {}, description="role: column name, where names cannot be guessed (text, label, ...)."
    )
    split: Split = Field(Split(), description="How rows are divided where there is no official division.")
    checks: tuple[Literal["schema", "duplicates", "leaks", "balance", "personal-data"], ...] = Field(
        ("schema", "duplicates", "leaks", "balance", "personal-data"), description="What `prepare` looks at."
    )
    allow_bad_rows: Share = Field(0.0, description="Share of rows that may be unreadable; they are left out.")
    duplicates: Literal["drop", "keep"] = Field("drop", description="Exact duplicates inside the training rows.")
    leaks: Literal["report", "drop"] = Field(
        "report", description="Training rows that also stand in the test: report both scores, or drop them from train."
    )
    personal_data: Literal["report", "mask", "refuse"] = Field("report", description="E-mail, phone, card, id numbers.")
    options: dict[str, Any] = Field(
        {}, description="Options of the task (horizon, image size, ...); see the reference."
    )


class EvaluateSection(BaseModel):
    """`evaluate`: how the test rows are scored, once."""

    model_config = STRICT

    protocol: str | None = Field(
        None, description="A versioned rule such as `fashion-mnist/v1`; the data must match it."
    )
    slices: tuple[str, ...] = Field(
        (), description="Also score these parts of the test, beside those that the task is always scored by."
    )
    disturb: tuple[str, ...] | Literal["auto"] = Field(
        "auto", description="Also answer some test rows after they were disturbed; `auto`: in every way the task knows."
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Seed of bootstrap intervals.")


class ExplainSection(BaseModel):
    """`explain`: what single answers rested on, with a test of the explanation itself."""

    model_config = STRICT

    examples: Annotated[int, Field(ge=0, le=200)] = Field(8, description="How many test rows are explained; 0: none.")
    trials: Annotated[int, Field(ge=1)] = Field(10, description="Random deletions each explanation is compared with.")


class ShrinkSection(BaseModel):
    """`shrink`: exports that are scored like their parent. A plain list, `shrink: [int8]`, is the same as `formats`."""

    model_config = STRICT

    formats: tuple[Literal["onnx", "int8"], ...] = Field((), description="`onnx` (fp32) and `int8`, by onnxruntime.")
    max_loss: Annotated[float, Field(ge=0)] = Field(
        0.01, description="How much worse the main metric may be, as a share of its parent's value."
    )


class PrivacySection(BaseModel):
    """`privacy`: reserved; no key is accepted yet."""

    model_config = STRICT


class PublishSection(BaseModel):
    """`publish`: the model folder, and where it is uploaded."""

    model_config = STRICT

    repo: str | None = Field(None, description="owner/name on the hub at HF_ENDPOINT; nothing is uploaded without it.")
    license: str = Field(
        "auto", description="`auto`: from base model and data, refused when unknown; or an identifier."
    )
    visibility: Literal["private", "public"] = Field("private", description="Of a repository that is made new.")
    language: Literal["en", "zh"] = Field("en", description="Language of card and report.")
    name: str | None = Field(None, description="Title on the card; the recipe's file name otherwise.")


class Recipe(BaseModel):
    """One YAML file. Unknown keys are errors; `digest` names what it says."""

    model_config = STRICT

    name: str = Field(
        "recipe", pattern=NAME, description="Name of the run; the file's name without `.yaml` when not given."
    )
    task: str = Field(description="What is asked of the model: see `commons tasks`.")
    model: ModelSection = Field(description="Which model: an open one, a new one, or the best of several.")
    data: DataSection = Field(description="Where the rows come from, and what is checked.")
    tune: Training = Field(Training(), description="How it is trained; every key has a default.")
    evaluate: EvaluateSection = Field(EvaluateSection(), description="How the test rows are scored.")
    explain: ExplainSection = Field(ExplainSection(), description="How many answers are explained.")
    shrink: ShrinkSection = Field(ShrinkSection(), description="Exports; a list is the same as `formats`.")
    privacy: PrivacySection = Field(PrivacySection(), description="Reserved.")
    publish: PublishSection = Field(PublishSection(), description="Licence, language, and where it is uploaded.")

    _places: Mapping[At, str] = PrivateAttr(default_factory=dict)  # where each key was written, for messages

    @property
    def places(self) -> Mapping[At, str]:
        """Where each part was written (`news.yaml:7`); empty for a recipe that was not read from a file."""
        return self._places

    def digest(self, sections: Iterable[str] | None = None) -> str:
        """sha256 of what the recipe says, or of some of its sections.

        The name is left out, and a file or folder of this machine counts by its own name alone: what is in it has a
        digest of its own. So a moved recipe, or one as it was published, keeps its digest. So does one that was signed
        before a later version knew a further key: what is as it is when nothing is said is left out.
        """
        values = shareable(self).model_dump(mode="json", by_alias=True, exclude={"name"}, exclude_defaults=True)
        return sha256(canonical({key: values.get(key) for key in sections or values}))


# --- reading and writing --------------------------------------------------------------------------------------------


def load(path: str | Path, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Recipe:
    """A recipe from its file.

    Args:
        overrides: `tune.epochs=3`, values as in YAML; they win over the file.
        environment: where `${NAME}` is looked up; `os.environ` when not given.

    Raises:
        NotFound: there is no such file.
        FormatError: it is not YAML, or a YAML bomb.
        RecipeError: unknown keys, wrong values, a variable that is not set; each with file, line and key.
    """
    path = Path(path)
    layer = _read(path, os.environ if environment is None else environment)
    if "extends" in layer.values:
        layer = _extended(layer, path, os.environ if environment is None else environment)
    for override in overrides:
        layer = _merged(layer, _override(override))
    return _checked(layer, path)


def load_resolved(path: str | Path) -> Recipe:
    """A recipe as a run or model folder holds it. It may be a stranger's: no variable and no other file is read.

    Raises:
        NotFound, FormatError, RecipeError: as `load`; also when it has `${NAME}` or `extends`.
    """
    path = Path(path)
    layer = _read(path, None)
    if "extends" in layer.values:
        raise RecipeError(f"{layer.places[('extends',)]}: expected a resolved recipe, got `extends`. Run it first.")
    return _checked(layer, path)


def dump(recipe: Recipe) -> str:
    """The recipe as YAML, every default written out; `load` and `load_resolved` read it back to the same value."""
    return yaml.dump(_escaped(recipe.model_dump(mode="json", by_alias=True)))


def shareable(recipe: Recipe) -> Recipe:
    """The recipe without this machine's folders: of a local path its last part is kept."""
    model = recipe.model
    update: dict[str, Any] = {"data": recipe.data.model_copy(update={"source": _last(recipe.data.source)})}
    if model.auto:
        auto = tuple(each.model_copy(update={"from_": each.from_ and _last(each.from_)}) for each in model.auto)
        update["model"] = model.model_copy(update={"auto": auto})
    elif model.from_:
        update["model"] = model.model_copy(update={"from_": _last(model.from_)})
    return recipe.model_copy(update=update)


def schema() -> dict[str, Any]:
    """JSON schema of a recipe file, for editors."""
    made = Recipe.model_json_schema(by_alias=True)
    shrink = made["$defs"]["ShrinkSection"]
    made["properties"]["shrink"]["anyOf"] = [
        {"$ref": made["properties"]["shrink"].pop("$ref")},
        shrink["properties"]["formats"],
    ]
    extends = {"type": "string", "description": "One other recipe file that this one changes."}
    made["properties"] = {"extends": extends, **made["properties"]}
    made["required"] = []  # a parent, or the command line, may say the rest
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "Model Commons recipe"}


# --- layers: parent, file, command line -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Layer:
    values: dict[str, Any]
    places: dict[At, str]


def _read(path: Path, environment: Mapping[str, str] | None) -> _Layer:
    try:
        with open(path, "rb") as file:
            text = file.read(yaml.MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"There is no recipe at {path}. Write one: commons init TASK.") from None
    except OSError as error:
        raise NotFound(f"Expected a recipe at {path}, it cannot be read: {error.strerror}.") from None

    def replace(value: str, line: int) -> str:
        return VARIABLE.sub(lambda found: _variable(found, f"{path.name}:{line}", environment), value)

    document = yaml.read(text, path.name, replace)
    if not isinstance(document.value, dict):
        raise RecipeError(f"{path.name}: expected `key: value` lines, such as `task: image-classification`.")
    values = {key: value for key, value in document.value.items() if value is not None}  # `explain:` alone is nothing
    places = {(): path.name} | {at: f"{path.name}:{line}" for at, line in document.lines.items()}
    return _Layer(_normal(values, path.parent), places)


def _variable(found: re.Match[str], place: str, environment: Mapping[str, str] | None) -> str:
    """The text for one `${...}` of a value."""
    if found[0] == "$${":
        return "${"
    name, default = found["name"], found["default"]
    if name is None:
        raise RecipeError(f"{place}: expected ${{NAME}} or ${{NAME:-default}}, got an open `${{`. Write `$${{` for it.")
    if environment is None:
        raise RecipeError(f"{place}: expected a resolved recipe, got ${{{name}}}. Run it first.")
    value = environment.get(name) or default
    if value is None:
        raise RecipeError(
            f"{place}: expected the environment variable {name}, it is not set. Set it, or write ${{{name}:-default}}."
        )
    return value


def _extended(layer: _Layer, path: Path, environment: Mapping[str, str]) -> _Layer:
    """The layer over its one parent."""
    name, place = layer.values.pop("extends"), layer.places[("extends",)]
    if not isinstance(name, str):
        raise RecipeError(f"{place}: extends: expected the name of one recipe file, got {name!r}.")
    try:
        parent = _read(path.parent / name, environment)
    except NotFound:
        raise RecipeError(f"{place}: extends: there is no recipe at {path.parent / name}. Name one that is.") from None
    if "extends" in parent.values:
        raise RecipeError(
            f"{place}: {name} itself extends another recipe; one parent is allowed. Merge the two parents."
        )
    return _merged(parent, layer)


def _override(text: str) -> _Layer:
    """The layer that `tune.epochs=3` makes."""
    key, sign, value = text.partition("=")
    at = tuple(key.split("."))
    if not sign or not all(at):
        raise RecipeError(f"command line: expected key=value, such as tune.epochs=3, got '{text}'.")
    parsed = yaml.load(value, f"command line: {key}")
    values: dict[str, Any] = {at[-1]: parsed}
    for part in reversed(at[:-1]):
        values = {part: values}
    return _Layer(_normal(values, Path()), {at[: depth + 1]: "command line" for depth in range(len(at))})


def _merged(below: _Layer, above: _Layer) -> _Layer:
    """`above` wins, key by key; a section is replaced as a whole where it is no section in both."""
    values, places = dict(below.values), dict(below.places)

    def put(target: dict[str, Any], key: str, value: Any, at: At) -> None:
        if isinstance(value, dict) and isinstance(target.get(key), dict) and not (at == ("model",) and WAYS & {*value}):
            target[key] = dict(target[key])
            for inner, part in value.items():
                put(target[key], inner, part, (*at, inner))
        else:
            for gone in [place for place in places if place[: len(at)] == at]:
                del places[gone]
            target[key] = value

    for key, value in above.values.items():
        put(values, key, value, (key,))
    return _Layer(values, places | {at: place for at, place in above.places.items() if at})


def _normal(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The one long form: files and folders absolute, `shrink: [int8]` as its `formats`."""
    values = dict(values)
    if isinstance(values.get("shrink"), list):
        values["shrink"] = {"formats": values["shrink"]}
    for section, key in (("data", "source"), ("model", "from")):
        if isinstance(values.get(section), dict) and key in values[section]:
            values[section] = values[section] | {key: _absolute(values[section][key], folder)}
    model = values.get("model")
    if isinstance(model, dict) and isinstance(model.get("auto"), list):
        found = [
            each | {"from": _absolute(each["from"], folder)} if isinstance(each, dict) and "from" in each else each
            for each in model["auto"]
        ]
        values["model"] = model | {"auto": found}
    return values


def _absolute(name: Any, folder: Path) -> Any:
    if not isinstance(name, str) or name in ("", AUTO) or name.startswith("bundled:"):
        return name
    path = folder / Path(name).expanduser()
    if name.startswith(("./", "../", "~", "/")) or path.exists():
        return os.path.abspath(path)
    return name  # a hub id


def _last(name: str) -> str:
    return Path(name).name if os.path.isabs(name) else name


def _escaped(value: Any) -> Any:
    """`${` in texts written as `$${`, so that reading gives it back."""
    match value:
        case str():
            return value.replace("${", "$${")
        case list():
            return [_escaped(part) for part in value]
        case dict():
            return {key: _escaped(part) for key, part in value.items()}
    return value


def _checked(layer: _Layer, path: Path) -> Recipe:
    stem = path.stem if re.fullmatch(NAME, path.stem) else "recipe"
    recipe = check(Recipe, {"name": stem, **layer.values}, layer.places)
    recipe._places = layer.places
    return recipe


def _and(words: Iterable[str]) -> str:
    """`from`, `new` and `auto`."""
    *most, last = [f"`{word}`" for word in words]
    return f"{', '.join(most)} and {last}" if most else last
