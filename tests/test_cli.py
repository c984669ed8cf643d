"""the command line: help, --json and -q everywhere; values on stdout, words on stderr, exit codes as they are told."""

from __future__ import annotations

import inspect
import io
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from called import Commons, Told
from typer.main import get_command

import modelcommons
from modelcommons import errors
from modelcommons.cli import main
from modelcommons.cli.commands import app
from modelcommons.cli.starter import FIRST_DATA
from modelcommons.formats import yaml
from modelcommons.workbench import fields
from modelcommons.workbench import run as spine
from modelcommons.workbench.recipe import load_resolved

ROOT = Path(__file__).parents[1]


def flat(prefix: str, group: Any) -> Iterator[tuple[str, Any]]:
    """Every command by its whole name: `hub user add`."""
    for name, command in group.commands.items():
        yield from flat(f"{prefix}{name} ", command) if hasattr(command, "commands") else [(prefix + name, command)]


COMMANDS: dict[str, Any] = dict(flat("", get_command(app)))
STAGES = ("get", "prepare", "tune", "evaluate", "explain", "shrink", "publish")
TEXT = """
task: text-classification
model: {new: bag, options: {width: 16, buckets: 4096}}
data: {source: ./data, license: cc0-1.0}
tune: {epochs: 3}
explain: {examples: 1}
"""


# --- what every command has -----------------------------------------------------------------------------------------


def test_the_commands_are_those_that_a_person_can_guess(commons: Commons) -> None:
    told = commons("--help")
    wanted = {"tasks", "init", "check", "plan", "run", "predict", "verify", "diff", "find", "schema", "version", "hub"}
    assert {name.split()[0] for name in COMMANDS} == wanted and all(f"  {name} " in told.out for name in wanted)
    assert told.code == 0 and "Exit codes:" in told.out
    assert commons().out == told.out, "no command at all: the help"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_json_and_quiet(commons: Commons, name: str) -> None:
    told = commons(*name.split(), "--help")
    assert (told.code, told.err) == (0, "")
    assert re.search(rf"^  commons {name}\b|\| commons {name}\b", told.out, re.MULTILINE), "an example"
    assert "--json" in told.out and re.search(r"-q, --quiet|--quiet\s+-q", told.out)
    assert not [line for line in told.out.splitlines() if len(line) > 80]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_parse(name: str) -> None:
    """What the help shows can be typed: options exist, arguments are enough."""
    examples = [
        shlex.split(line.split("|")[-1].split(" > ")[0])[1 + len(name.split()) :]
        for line in inspect.getdoc(COMMANDS[name].callback).splitlines()  # type: ignore[union-attr]
        if line.split("|")[-1].strip().startswith(f"commons {name}")
    ]
    assert examples
    for example in examples:
        COMMANDS[name].make_context(name, example)


def test_the_script_is_installed_under_its_name() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"commons": "modelcommons.cli:main"}


# --- exit codes -----------------------------------------------------------------------------------------------------

ENDS: list[tuple[BaseException, int, str]] = [
    (errors.Forged("The receipt is forged."), 1, "The receipt is forged."),
    (errors.Contradicted("It says 0.9, it is 0.8."), 1, "It says 0.9, it is 0.8."),
    (errors.Worse("The export is worse."), 1, "The export is worse."),
    (errors.DataError("data.csv is empty."), 2, "data.csv is empty."),
    (errors.Undecided("The data are not here."), 2, "The data are not here."),
    (errors.BudgetReached("The budget ended."), 3, "The budget ended."),
    (errors.Stopped("Stopped at step 3."), 130, "Stopped at step 3."),
    (KeyboardInterrupt(), 130, "Stopped. Nothing is lost: run the same command again to go on."),
    (ModuleNotFoundError("No", name="peft.lora"), 2, "This needs 'peft'. Install all parts: pip install"),
    (OSError(28, "No space left on device", "/x"), 2, "The system says: No space left on device: /x. Put that right"),
    (MemoryError(), 2, "The memory is full. Try a smaller tune.batch_size"),
    (ZeroDivisionError("division by zero"), 2, "This is a mistake of ours, not yours: ZeroDivisionError: division"),
]


@pytest.mark.parametrize(("error", "code", "words"), ENDS, ids=lambda value: type(value).__name__)
def test_every_end_has_its_code_and_its_sentence(
    commons: Commons, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str
) -> None:
    def end(*_: Any) -> None:
        raise error

    monkeypatch.setattr(spine, "run", end)
    Path("recipe.yaml").write_text(TEXT)
    told = commons("run", "recipe.yaml")
    assert (told.code, told.out) == (code, "") and told.err.startswith(words) and told.err.count("\n") == 1
    told = commons("run", "recipe.yaml", "--json")
    assert (told.code, told.err) == (code, "")
    assert told.json["error"]["exit_code"] == code and told.json["error"]["message"].startswith(words)


def test_a_budget_that_buys_nothing_usable_ends_with_3(commons: Commons, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelcommons.workbench.stages import tune

    monkeypatch.setattr(tune, "LEAST_STEPS", 10**9)
    tiny = fields.find("text-classification").tiny(Path("data").resolve())
    Path("recipe.yaml").write_text(TEXT.replace("./data", str(tiny.source)))
    told = commons("run", "recipe.yaml", "tune.budget.minutes=0.01", "tune.epochs=1e6", "-q", "--folder", "run")
    assert (told.code, told.out) == (3, "") and not Path("run/model").exists()
    assert re.fullmatch(
        r"The budget of 0\.01 min ended after \d+ steps, before anything usable; one epoch takes about \S+ min\. "
        r"Give tune\.budget\.minutes a larger number\.\n",
        told.err,
    )


def test_a_mistake_of_ours_can_be_reported(commons: Commons, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(spine, "run", end)
    Path("recipe.yaml").write_text(TEXT)
    report = re.search(r"report it with (\S+\.txt);", commons("run", "recipe.yaml").err)
    assert report and "Traceback" in (text := Path(report[1]).read_text()) and "ZeroDivisionError" in text
    Path(report[1]).unlink()
    with pytest.raises(ZeroDivisionError):
        main(["run", "recipe.yaml", "--debug"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "No such command 'trian'"),
        (["run"], "Missing argument 'RECIPE'. See: commons run --help."),
        (["run", "recipe.yaml", "--epochs", "3"], "No such option: --epochs"),
        (["init"], "Missing argument 'TASK'. See: commons init --help."),
        (["init", "text-clasification"], "Did you mean 'text-classification'?"),
        (["tasks", "more"], "See: commons tasks --help."),
        (["predict", "nowhere"], "Missing argument 'INPUT...'. See: commons predict --help."),
    ],
)
def test_wrong_usage_is_said_in_a_sentence(commons: Commons, arguments: list[str], words: str) -> None:
    told = commons(*arguments)
    assert (told.code, told.out) == (2, "") and words in told.err and told.err.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-c", "from modelcommons.cli import main; main()", "schema"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout and child.stderr
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait() == 0, "1 would say that something does not hold"
    child.stderr.close()


def test_progress_that_nobody_reads_is_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("task: text-classification\nmodel: {new: bag}\n")
    program = "from modelcommons.cli import main; main(['check', 'recipe.yaml', 'data.source=bundled:python-docs'])"
    child = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert child.stderr
    child.stderr.close()
    assert child.wait() == 2


# --- one command after the other ------------------------------------------------------------------------------------


def test_tasks_are_those_of_the_table(commons: Commons) -> None:
    told = commons("tasks", "--json")
    assert [task["task"] for task in told.json] == list(fields.TASKS)
    assert all(task["new"] and task["metrics"] and task["summary"] for task in told.json)
    words = commons("tasks").out.splitlines()
    assert [line.split(" ")[0] for line in words] == list(fields.TASKS)


@pytest.mark.parametrize("task", sorted(fields.TASKS.keys() - FIRST_DATA.keys()))
def test_where_no_package_brings_data_init_leaves_a_place_for_ones_own(commons: Commons, task: str) -> None:
    assert commons("init", task).code == 0
    told = commons("check", "recipe.yaml", "-q")
    assert (
        told.code == 2 and told.err.startswith("Expected a file or folder at") and "/data, found nothing." in told.err
    )


@pytest.mark.parametrize("task", FIRST_DATA)
def test_what_init_writes_passes_check(commons: Commons, task: str) -> None:
    assert commons("init", task).out == "Wrote recipe.yaml. Next: commons check recipe.yaml\n"
    told = commons("check", "recipe.yaml", "-q", "--json")
    assert (told.code, told.err) == (0, "")
    assert told.json["recipe"]["task"] == task and told.json["data"]["rows"]["bad"] == 0 and told.json["license"]
    before = Path("recipe.yaml").read_bytes()
    told = commons("init", task)
    assert told.code == 2 and told.err.startswith("recipe.yaml is there already, and nothing is overwritten.")
    assert Path("recipe.yaml").read_bytes() == before and {path.name for path in Path().iterdir()} == {"recipe.yaml"}


def test_check_shows_columns_and_classes(commons: Commons) -> None:
    Path("a.csv").write_text("text,label\n" + "".join(f"text {at},{'a' if at % 3 else 'b'}\n" for at in range(300)))
    Path("r.yaml").write_text("task: text-classification\nmodel: {new: bag}\ndata: {source: a.csv, license: mit}\n")
    told = commons("check", "r.yaml", "-q").out
    counts = re.search(r"^classes in train: a (\d+), b (\d+)$", told, re.MULTILINE)
    assert counts and int(counts[1]) > 1.5 * int(counts[2]) and re.search("^label +text +label +b$", told, re.MULTILINE)


@pytest.mark.parametrize("task", fields.TASKS)
def test_every_key_that_init_shows_can_be_uncommented(commons: Commons, task: str) -> None:
    """Uncommented, the defaults are what they were."""
    commons("init", task)
    shown = Path("recipe.yaml").read_text()
    Path("all.yaml").write_text(re.sub(r"^(  +)# ( *\w+:)", r"\1\2", shown, flags=re.MULTILINE))
    whole, plain = (commons("run", name, "--dry-run", "--json") for name in ("all.yaml", "recipe.yaml"))
    assert (whole.code, whole.err) == (0, "")
    given, wanted = whole.json, plain.json
    for value in (given, wanted):
        value["name"], value["model"]["options"], value["data"]["options"] = "", {}, {}  # shown: those of the task
    assert given == wanted


def test_a_dry_run_prints_the_resolved_recipe_and_writes_nothing(commons: Commons) -> None:
    Path("base.yaml").write_text(TEXT)
    Path("news.yaml").write_text("extends: base.yaml\ntune: {epochs: 7}\n")
    told = commons("run", "news.yaml", "tune.learning_rate=0.5", "--dry-run")
    assert (told.code, told.err) == (0, "") and {path.name for path in Path().iterdir()} == {"base.yaml", "news.yaml"}
    Path("resolved.yaml").write_text(told.out)
    resolved = load_resolved("resolved.yaml")
    assert (resolved.name, resolved.tune.epochs, resolved.tune.learning_rate) == ("news", 7, 0.5)


def test_the_schema_accepts_every_recipe_and_refuses_an_unknown_key(commons: Commons) -> None:
    import jsonschema  # a second and more, for this alone

    validator = jsonschema.Draft202012Validator(commons("schema").json)
    validator.check_schema(validator.schema)
    recipes = sorted((ROOT / "recipes").glob("*.yaml"))
    assert recipes
    for path in recipes:
        validator.validate(yaml.load(path.read_text(encoding="utf-8"), path.name))
    assert list(validator.iter_errors({**yaml.load(TEXT, "text"), "epohcs": 3}))


def test_version_names_what_numbers_depend_on(commons: Commons) -> None:
    found = commons("version", "--json").json
    assert found["modelcommons"] == modelcommons.__version__ and {"python", "torch", "numpy"} <= set(found)
    assert f"modelcommons  {modelcommons.__version__}" in commons("version").out


# --- a run, and what it answers -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world of texts, its recipe, and the model folder that a run in another process made."""
    place = tmp_path_factory.mktemp("world")
    tiny = fields.find("text-classification").tiny(place / "data")
    (place / "recipe.yaml").write_text(TEXT.replace("./data", str(tiny.source)))
    command = [sys.executable, "-c", "from modelcommons.cli import main; main()", "run", "recipe.yaml", "--debug"]
    done = subprocess.run(
        [*command, "--folder", "run"], cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    (place / "told.json").write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    return place


def test_a_run_says_one_line_a_stage_and_no_warning(world: Path) -> None:
    """With --debug nothing is silenced."""
    code, out, err = json.loads((world / "told.json").read_text())
    assert code == 0, err
    said = [line.split(" ")[0] for line in err.splitlines()]
    assert said == [stage for stage in STAGES if stage in said] and {"get", "tune", "evaluate", "publish"} <= set(said)
    assert out.splitlines()[0].startswith("metric") and out.splitlines()[-1] == "check it: commons verify run"


def test_run_again_with_json_gives_the_values_and_nothing_else(commons: Commons, world: Path) -> None:
    told = commons("run", str(world / "recipe.yaml"), "--folder", str(world / "run"), "--json", "-q")
    assert (told.code, told.err) == (0, "")
    value = told.json
    assert value["model"] == str(world / "run" / "model") and Path(value["model"], "model.safetensors").is_file()
    assert value["scores"][0]["metric"] == "accuracy" and 0 <= value["scores"][0]["low"] <= value["scores"][0]["value"]
    assert value["rows"] > 0 and value["baseline"][0]["metric"] == "accuracy"


def answers(told: Told) -> list[Any]:
    assert (told.code, told.err) == (0, ""), told.err
    return [json.loads(line)["prediction"]["label"] for line in told.out.splitlines()]


def test_predict_answers_arguments_files_and_stdin_alike(
    commons: Commons, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a warm and sunny day", "cold rain, snow and wind"]
    model = str(world / "run")
    wanted = answers(commons("predict", model, *texts))
    assert len(wanted) == 2

    def typed(raw: bytes) -> list[Any]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        return answers(commons("predict", model, "-"))

    assert typed("\n".join(texts).encode()) == wanted
    assert typed(json.dumps(texts).encode()) == wanted
    assert typed("\n".join(json.dumps({"text": text}) for text in texts).encode()) == wanted, "JSON Lines"
    Path("one.txt").write_text(texts[0])
    Path("all.csv").write_text("text\n" + "\n".join(f'"{text}"' for text in texts))
    assert answers(commons("predict", model, "one.txt")) == wanted[:1]
    Path("latin.txt").write_bytes("Füße".encode("latin-1"))
    assert "Expected a text file in UTF-8 at latin.txt" in commons("predict", model, "latin.txt").err
    told = commons("predict", model, "two.txt")
    assert told.code == 2 and told.err.startswith("There is no file two.txt.")
    assert answers(commons("predict", model, "all.csv")) == wanted
    assert answers(commons("predict", str(world / "run" / "model"), texts[1])) == wanted[1:]
    value = commons("predict", model, *texts, "--json").json
    assert [answer["prediction"]["label"] for answer in value] == wanted


def test_predict_says_what_it_cannot_answer(commons: Commons, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = str(world / "run")
    for arguments, words in {
        ("nowhere/at all", "a text"): "Expected a model folder",
        (model, " "): "Expected a text, a list of texts or a file",
        (model, "a text", "--variant", "onnx/none.onnx"): "There is no export onnx/none.onnx",
        (model, "gone.csv"): "There is no file gone.csv",
    }.items():
        told = commons("predict", *arguments)
        assert (told.code, told.out) == (2, "") and words in told.err and told.err.count("\n") == 1, told.err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'["open')))
    assert commons("predict", model, "-").err.startswith("Expected JSON on stdin, as it begins with [ or {")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    told = commons("predict", model, "-")
    assert told.code == 2 and told.err.startswith("Expected an input on stdin, got nothing.")


def test_a_long_history_may_be_typed(commons: Commons) -> None:
    Path("recipe.yaml").write_text("task: time-series-forecasting\nmodel: {new: linear}\n")
    data = ("data.source=bundled:sunspots", "explain.examples=0")
    assert commons("run", "recipe.yaml", *data, "--folder", "run", "-q", "--debug").code == 0
    history = [float(n % 11) for n in range(200)]
    first, second = (commons("predict", "run", text) for text in (json.dumps(history), ",".join(map(str, history))))
    assert first.code == 0 and first == second
    assert "There is no file gone.csv" in commons("predict", "run", "gone.csv").err


def test_what_an_export_needs_is_asked_for_before_training(commons: Commons, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("recipe.yaml").write_text(TEXT + "shrink: {formats: [int8]}\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    told = commons("run", "recipe.yaml", "--folder", "run")
    assert told.code == 2 and told.err.endswith(
        "To shrink a model needs 'onnx'. Install it: pip install 'modelcommons[onnx]'.\n"
    )
    assert not Path("run").exists()


def test_a_missing_package_is_named_with_the_extra_that_brings_it(tmp_path: Path) -> None:
    program = """
import sys
sys.modules.update(dict.fromkeys(["torch", "scipy", "onnxruntime"]))  # an import of None says that there is none
from modelcommons.workbench import fields
for task in map(fields.find, fields.TASKS):
    for package in ("torch", "onnxruntime"):
        try:
            with fields.needed(task):
                __import__(package)
        except fields.MissingPackage as error:
            print(error)
from modelcommons.cli import main
main(["run", "recipe.yaml", "-q"])
"""
    text = "task: text-classification\nmodel: {new: bag}\ndata: {source: bundled:python-docs}\n"
    (tmp_path / "recipe.yaml").write_text(text)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    for field in ("image", "text", "series"):
        assert f"The {field} field needs 'torch'. Install it: pip install 'modelcommons[{field}]'." in done.stdout
        assert f"The {field} field needs 'onnxruntime'. Install it: pip install 'modelcommons[onnx]'." in done.stdout
    assert done.returncode == 2 and done.stderr == (
        "The text field needs 'torch'. Install it: pip install 'modelcommons[text]'.\n"
    )


def test_a_picture_may_come_through_stdin_and_many_in_a_folder(
    commons: Commons, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = fields.find("image-classification").tiny(Path("data").resolve())
    Path("recipe.yaml").write_text(
        "task: image-classification\nmodel: {new: linear}\nexplain: {examples: 0}\ntune: {epochs: 1}\n"
        f"data: {{source: {tiny.source}, license: cc0-1.0}}\n"
    )
    assert commons("run", "recipe.yaml", "--folder", "run", "-q", "--debug").code == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(tiny.example).read_bytes())))
    told = commons("predict", "run", "-")
    assert answers(told) == answers(commons("predict", "run", str(tiny.example))) and "id" not in told.json
    for name in ("a.png", "folder/b.PNG", ".thumbnails/c.png", "folder/.d.png"):
        Path("shots", name).parent.mkdir(parents=True, exist_ok=True)
        Path("shots", name).write_bytes(Path(tiny.example).read_bytes())
    named = [json.loads(line)["id"] for line in commons("predict", "run", "shots").out.splitlines()]
    assert named == ["shots/a.png", "shots/folder/b.PNG"], "hidden files are no input"
    Path("empty").mkdir()
    assert "Expected files that end in .png" in commons("predict", "run", "empty").err
