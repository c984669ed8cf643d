"""the words: the reference is what the code says, links lead somewhere, recipes load, commands are commands."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import io
import re
import shlex
import shutil
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import modelcommons
from modelcommons import errors
from modelcommons.cli.commands import app
from modelcommons.hub.settings import Settings
from modelcommons.workbench.recipe import load, schema
from modelcommons.workbench.resolve import resolve

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
ABSOLUTE = re.compile(r"(?<![\w.~}/>])(?:/(?:home|root|work|tmp|opt|mnt|srv|Users)/|[A-Z]:\\)\w*")
UNFINISHED = re.compile(r"FILL IN|TODO|FIXME|TBD")
WITH = {
    "pydantic_core": "pydantic",
    "tokenizers": "transformers",
    "markupsafe": "jinja2",
}  # comes with what it is part of


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def fences(path: Path, *languages: str) -> list[str]:
    return [text for language, text in FENCE.findall(path.read_text(encoding="utf-8")) if language in languages]


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- reference ------------------------------------------------------------------------------------------------------


def test_the_reference_is_what_the_code_says(generate: ModuleType) -> None:
    pages = generate.pages()
    assert {path.name for path in REFERENCE.iterdir()} == set(pages)
    for page, text in pages.items():
        assert (REFERENCE / page).read_text(encoding="utf-8") == text, f"{page} is old. Run: python docs/generate.py"


def recipe_keys(part: dict[str, Any], root: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Every dotted key of the recipe's JSON schema, by a walk of its own."""
    for reference in [part, *part.get("anyOf", ())]:
        found = root["$defs"][reference["$ref"].rsplit("/", 1)[-1]] if "$ref" in reference else reference
        for key, inner in found.get("properties", {}).items():
            below = list(recipe_keys(inner, root, f"{prefix}{key}."))
            yield from below or [f"{prefix}{key}"]


def test_no_command_recipe_key_setting_or_error_is_missing(generate: ModuleType) -> None:
    known = schema()
    keys = set(recipe_keys(known, known)) - {"extends", "privacy"}
    assert {"task", "tune.budget.minutes", "data.split.sizes", "model.from"} <= keys
    missing = [
        *(f"commons {each.callback.__name__}" for each in app.registered_commands if each.callback),
        *(f"commons {command}" for command in generate.commands()),
        *(f"COMMONS_HUB_{each.name.upper()}" for each in dataclasses.fields(Settings)),
        *keys,
        *(key for key, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)),
    ]
    text = "".join(path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md"))
    assert not [word for word in missing if f"`{word}`" not in text]


def test_every_error_is_in_the_tree_at_the_top_of_its_file() -> None:
    drawn = re.findall(r"(?:── |^    )(\w+) ", errors.__doc__ or "", re.MULTILINE)
    assert drawn == [
        key for key, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
    ]


def test_the_reference_is_written_without_torch() -> None:
    program = "import generate, sys; generate.pages(); print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT / "docs", capture_output=True, text=True, check=True
    )
    assert not {"torch", "transformers", "sklearn", "matplotlib"} & set(done.stdout.split())


# --- pages ----------------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The heading anchors of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT) and target.exists(), f"{name(page)}: {link} is not there"
        assert not anchor or anchor in anchors(target), f"{name(page)}: {link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_recipes_shown_load(page: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "recipes", tmp_path, dirs_exist_ok=True)
    for number, text in enumerate(fences(page, "yaml", "yml")):
        (tmp_path / f"shown-{number}.yaml").write_text(text, encoding="utf-8")
        resolve(load(tmp_path / f"shown-{number}.yaml", environment={}))


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=name)
def test_recipes_that_come_with_us_load(path: Path) -> None:
    resolve(load(path, environment={}))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_shown_are_there(page: Path, generate: ModuleType) -> None:
    known = generate.commands()
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for line in "\n".join(fences(page, "", "sh", "console")).splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True) if re.match(r"(\$ )?(commons|make) ", line) else []
        match words:
            case ["make", *made]:
                assert set(made) <= set(targets), f"{name(page)}: {line}"
            case ["commons", *rest]:
                command = next((each for each in known if rest[: len(each.split())] == each.split()), "")
                assert command or "--help" in rest, f"{name(page)}: {line}"
                options = (
                    {option for each in known[command].params for option in each.opts} if command in known else set()
                )
                said = {word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)} - {"--help", "--debug"}
                assert said <= options, f"{name(page)}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_pages_are_finished(page: Path) -> None:
    assert not UNFINISHED.findall(page.read_text(encoding="utf-8"))


def test_both_readmes_show_the_same_commands() -> None:
    shown = [
        re.sub(r" +#.*", "", "\n".join(fences(ROOT / page, "sh", "yaml"))) for page in ("README.md", "README.zh-CN.md")
    ]
    assert shown[0] == shown[1]


def test_the_readme_says_how_to_set_up_and_test() -> None:
    for page in ("README.md", "README.zh-CN.md"):
        commands = "\n".join(fences(ROOT / page, "sh"))
        assert "make demo" in commands and "make test" in commands and "pip install" in commands


def spoken(path: Path) -> str:
    """What a file says to people: a page, or the comments and texts of a program."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        return "\n".join(token.string for token in tokens if token.type in (tokenize.COMMENT, tokenize.STRING))
    return text


def test_nothing_names_a_place_on_one_machine() -> None:
    folders = ("src", "docs", "recipes", "benchmarks", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file() and path.name not in ("LICENSE", ".git")]
    told = (path for path in files if path.suffix in (".py", ".md", ".yaml", ".toml", ".txt", ".html", ".jinja", ""))
    wrong = [f"{name(path)}: {found}" for path in told for found in ABSOLUTE.findall(spoken(path))]
    assert not wrong, wrong


def test_a_place_on_one_machine_would_be_seen() -> None:
    assert ABSOLUTE.findall("see /ho" + "me/ada/model, or C" + ":\\models") == ["/home/ada", "C:\\models"]
    assert not ABSOLUTE.findall("docs/work/x, https://hub/home/x, ~/tmp/x, ${RUNS}/tmp/x, and/or")


# --- dependencies and versions --------------------------------------------------------------------------------------


def declared() -> set[str]:
    """Every dependency that pyproject.toml names, those of the tests too; lower case, with hyphens."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {re.split(r"[\[<>=~! ]", line)[0].lower().replace("_", "-") for line in lines} - {"modelcommons"}


def test_contributing_explains_every_dependency() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(declared())


def test_every_dependency_has_a_tested_version() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert declared() <= {line.split("==")[0].lower().replace("_", "-") for line in lines}


def test_nothing_is_imported_that_pyproject_does_not_name() -> None:
    of = {module: packages[0].lower().replace("_", "-") for module, packages in packages_distributions().items()}
    unknown = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            tops = {module.split(".")[0] for module in modules} - {*sys.stdlib_module_names, "modelcommons"}
            unknown |= {top for top in tops if WITH.get(top, of.get(top, top)) not in declared()}
    assert not unknown


def test_the_changelog_has_this_version() -> None:
    assert f"## {modelcommons.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
