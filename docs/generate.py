"""the reference, written from the code: commands, recipe keys, the hub's settings, errors.

    python docs/generate.py

writes docs/reference/*.md anew; tests/test_docs.py fails while they differ from what is written here.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from modelcommons import errors
from modelcommons.cli.commands import app
from modelcommons.formats.checked import words
from modelcommons.hub import settings
from modelcommons.workbench import fields, protocols
from modelcommons.workbench.recipe import ModelChoice, Recipe
from modelcommons.workbench.sources import bundled
from modelcommons.workbench.task import AlwaysSlices, Draws, Explains, Exports, Slices, Task

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code. Change the code, then run it again. -->"


COMMANDS = """\
Values go to standard output, progress and errors to standard error. Exit codes are the same everywhere: 0 ok; 1 it does
not hold; 2 usage, bad input, or cannot decide; 3 the budget ended before anything usable was there; 130 stopped. Which
error ends how: [errors](errors.md). Every command also takes `--debug`, which shows the traceback of an error.
"""
RECIPE = """\
One YAML file; everything a run depends on. An unknown key is an error. `commons init TASK` writes a recipe with every
key in it, `commons schema` prints a JSON schema for editors. Besides the keys below a file may say
`extends: other.yaml` (one parent) and use `${NAME}` or `${NAME:-default}` from the environment (`$${` stands for
`${`). Every key can be changed on the command line: `commons run recipe.yaml tune.epochs=3`. Relative paths are
relative to the file they stand in.
"""
BUNDLED = "`bundled:NAME` is real data that comes inside an installed package:"
SETTINGS = """\
Each is set in the environment of `commons hub serve`; the most used have an option of the same name, which wins.
`commons hub settings` prints this table with the values as they are. A variable that begins with `COMMONS_HUB_` and is
not in the table is an error.
"""
ERRORS = """\
Everything raised on purpose is a `modelcommons.errors.CommonsError`; its text is one or two sentences for a person:
what was expected, what came, what to do next. The command line prints it to standard error and ends with the exit
code; with `--json` it prints `{"error": {"error": ..., "message": ..., "exit_code": ...}}` to standard output.
"""


def pages() -> dict[str, str]:
    """File name in docs/reference -> its text."""
    made: dict[str, Callable[[], Iterator[str]]] = {
        "commands.md": commands_page, "recipe.md": recipe_page, "settings.md": settings_page, "errors.md": errors_page,
    }  # fmt: skip
    return {name: "\n".join([NOTE, "", *page()]).rstrip() + "\n" for name, page in made.items()}


# --- commands -------------------------------------------------------------------------------------------------------


def commands() -> dict[str, Any]:
    """Every command by name, as the command line parser knows it."""
    return dict(_commands("", typer.main.get_command(app)))


def _commands(prefix: str, group: Any) -> Iterator[tuple[str, Any]]:
    """Those of groups too: `hub user add`."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(f"{prefix}{name} ", command)
        else:
            yield f"{prefix}{name}", command


def commands_page() -> Iterator[str]:
    known = commands()
    yield "# Commands"
    yield ""
    yield from _table(
        ("command", "what it does"),
        (
            (f"[`commons {name}`](#commons-{name.replace(' ', '-')})", _paragraphs(each.help)[0])
            for name, each in known.items()
        ),
    )
    yield COMMANDS
    for name, command in known.items():
        yield from _command(name, command)


def _command(name: str, command: Any) -> Iterator[str]:
    summary, *rest = _paragraphs(command.help)
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    yield from (f"## commons {name}", "", summary, "")
    for paragraph in rest:
        example = paragraph.startswith("\b")
        yield from ("```", paragraph.removeprefix("\b").strip(), "```", "") if example else (paragraph, "")
    yield from _table(("argument or option", "what for", "default"), map(_parameter, shown))


def _paragraphs(text: str) -> list[str]:
    return [part if part.startswith("\b") else " ".join(part.split()) for part in text.strip().split("\n\n")]


def _parameter(parameter: Any) -> Sequence[str]:
    return _name(parameter), (parameter.help or "").replace("<", r"\<"), _given(parameter)


def _name(parameter: Any) -> str:
    """`RECIPE`, `KEY=VALUE...`, `-q`, `--quiet`, `--folder FOLDER`."""
    if parameter.param_type_name == "argument":
        many = "..." if parameter.nargs == -1 and not parameter.metavar.endswith("...") else ""
        return f"`{parameter.metavar}{many}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return ", ".join(f"`{option}{value}`" for option in parameter.opts)


def _given(parameter: Any) -> str:
    if parameter.required:
        return "required"
    none = parameter.default is None or parameter.default is False or parameter.default == ""
    return "" if none else f"`{parameter.default}`"


# --- recipe ---------------------------------------------------------------------------------------------------------


def recipe_page() -> Iterator[str]:
    yield "# Recipe"
    yield ""
    yield RECIPE
    inline = {key: field for key, field in Recipe.model_fields.items() if not _is_section(field)}
    yield from _keys(Recipe, "", inline)
    for key, field in Recipe.model_fields.items():
        if _is_section(field):
            section: Any = field.annotation
            yield from (f"## {key}", "", _doc(section), "")
            yield from _keys(section, f"{key}.", section.model_fields)
    yield from ("## Bundled data", "", BUNDLED, "")
    yield from _table(
        ("name", "package", "licence", "what"),
        ((f"`bundled:{name}`", each.package, each.licence, each.notes) for name, each in bundled.SETS.items()),
    )
    if protocols.names():
        yield from ("## Protocols", "", "For `evaluate.protocol`; values only, with the digest of the data:", "")
        yield from _table(
            ("name", "task", "what"),
            ((f"`{each.name}`", each.task, each.title) for each in map(protocols.find, protocols.names())),
        )
    for name in fields.TASKS:
        yield from _task(fields.find(name))


def _task(task: Task) -> Iterator[str]:
    models = ", and open models of the transformers library" if task.open_models else " only"
    ways = (("explain", Explains), ("shrink", Exports), ("draw figures", Draws))
    yield from (f"## {task.name}", "", f"{task.summary[0].upper()}{task.summary[1:]}. New architectures{models}.")
    yield f"It can {', '.join(word for word, way in ways if isinstance(task, way))}."
    yield f"Install: `pip install 'modelcommons[{task.field}]'`."
    yield from ("", f"### {task.name}: data.options", "")
    yield from _keys(task.options, "data.options.", task.options.model_fields)
    yield from (f"### {task.name}: data.columns", "")
    yield from _table(("role", "what the column holds"), ((f"`{role}`", text) for role, text in task.roles.items()))
    for name, options in task.architectures.items():
        yield from (f"### {task.name}: model.new: {name}", "", _doc(options), "")
        yield from _keys(options, "model.options.", options.model_fields)
    yield from (f"### {task.name}: evaluate.slices", "")
    slices = task.slices if isinstance(task, Slices) else {}
    always = dict.fromkeys(task.always, " (always)") if isinstance(task, AlwaysSlices) else {}
    told = ((f"`{name}`{always.get(name, '')}", text) for name, text in slices.items())
    yield from _table(("slice", "by what"), told)
    yield from (
        f"### {task.name}: metrics",
        "",
        "The main one first; `tune` chooses by it, `shrink.max_loss` limits it.",
        "",
    )
    yield from _table(
        ("metric", "better", "range", "what"),
        (
            (f"`{each.name}`", each.direction, f"{each.low:g} to {each.high:g}".replace("inf", "∞"), each.summary)
            for each in task.metrics
        ),
    )


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _doc(model: type[BaseModel]) -> str:
    return " ".join((inspect.getdoc(model) or "").split())


def _keys(model: type[BaseModel], prefix: str, shown: dict[str, FieldInfo]) -> Iterator[str]:
    """A table of keys; keys of keys in the same table."""
    rows = list(_rows(model, prefix, shown))
    if rows:
        yield from _table(("key", "what it takes", "default", "what for"), rows)
    else:
        yield from ("It takes no keys.", "")


def _rows(model: type[BaseModel], prefix: str, shown: dict[str, FieldInfo]) -> Iterator[Sequence[str]]:
    root = model.model_json_schema(by_alias=True)
    for name, field in shown.items():
        key = field.alias or name
        inner: Any = field.annotation
        if _is_section(field):
            yield from _rows(inner, f"{prefix}{key}.", inner.model_fields)
        else:
            kind = _takes(root["properties"][key], root)
            default = "required" if field.is_required() else f"`{_json(field.get_default(call_default_factory=True))}`"
            yield (f"`{prefix}{key}`", kind, default, field.description or "")


def _takes(wanted: Any, root: Any) -> str:
    """What a mistake in this key is told, so that page and message use one wording."""
    if ModelChoice.__name__ in json.dumps(wanted):
        return "a list of (`from` or `new` with `options`)"
    return re.sub(r"of the form (\S+)", r"of the form `\1`", words(wanted, root))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=list)


# --- settings -------------------------------------------------------------------------------------------------------


def settings_page() -> Iterator[str]:
    yield "# Settings of the hub"
    yield ""
    yield SETTINGS
    yield from _table(
        ("variable", "default", "what for"),
        ((f"`{one.variable}`", _default(one.default), one.help.replace("<", r"\<")) for one in settings.table()),
    )


def _default(value: Any) -> str:
    if isinstance(value, Path):
        return "`modelcommons/hub` in the user's data folder"
    return f"`{value}`" if value != "" else ""


# --- errors ---------------------------------------------------------------------------------------------------------


def errors_page() -> Iterator[str]:
    yield "# Errors"
    yield ""
    yield ERRORS
    yield from _table(("error", "exit code", "what it means"), _errors(errors.CommonsError, 0))


def _errors(kind: type[errors.CommonsError], depth: int) -> Iterator[Sequence[str]]:
    """The tree in the order in which it is written in errors.py, children indented below their parent."""
    meaning = " ".join((inspect.getdoc(kind) or "").split())
    yield (f"{'&emsp;' * depth}`{kind.__name__}`", str(kind.exit_code), meaning)
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _errors(child, depth + 1)


# --- Markdown -------------------------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(f"wrote {(FOLDER / name).relative_to(FOLDER.parents[1])}")


if __name__ == "__main__":
    main()
