"""recipes: every mistake named with line and key; parents, variables and the command line; and what is written out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from modelcommons.errors import CommonsError, FormatError, NotFound, RecipeError
from modelcommons.workbench.recipe import Recipe, dump, load, load_resolved, schema, shareable
from modelcommons.workbench.resolve import resolve

ROOT = Path(__file__).parents[1]
BASE = "task: time-series-forecasting\nmodel: {new: linear}\ndata:\n  source: ./x.csv\n"


def write(folder: Path, text: str, name: str = "news.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def mistake(folder: Path, text: str, overrides: Sequence[str] = ()) -> str:
    with pytest.raises(CommonsError) as caught:
        resolve(load(write(folder, text), overrides))
    assert caught.value.exit_code == 2
    return str(caught.value)


MISTAKES = {
    "tune:\n  epohcs: 3\n": "news.yaml:6: tune.epohcs is not a key. Did you mean 'epochs'?",
    "epochs: 3\n": "news.yaml:5: epochs is not a key. Did you mean 'tune.epochs'?",
    "privacy: {epsilon: 3}\n": "news.yaml:5: privacy.epsilon is not a key. privacy takes no keys yet.",
    "tune: {epochs: lots}\n": "news.yaml:5: tune.epochs: expected a number above 0 or 'auto', got 'lots'.",
    "tune: {epochs: '3'}\n": (
        "news.yaml:5: tune.epochs: expected a number above 0 or 'auto', got '3'. Remove the quotes."
    ),
    "tune: {warmup: 1}\n": "news.yaml:5: tune.warmup: expected a number of at least 0 and below 1, got 1.",
    "tune: {seeds: [0, x]}\n": "news.yaml:5: tune.seeds[1]: expected a whole number of at least 0, got 'x'.",
    "explain: {examples: 900}\n": "news.yaml:5: explain.examples: expected a whole number from 0 to 200, got 900.",
    "shrink: [int9]\n": "news.yaml:5: shrink.formats[0]: expected 'onnx' or 'int8', got 'int9'.",
    "publish: {name: 12}\n": "news.yaml:5: publish.name: expected text, got 12. Put it in quotes.",
    "evaluate: 3\n": "news.yaml:5: evaluate: expected `key: value` lines, got 3.",
    "  split: {sizes: [1, 2]}\n": "news.yaml:5: expected the key data.split.sizes[2], it is missing.",
    "  options: {horizon: x}\n": "news.yaml:5: data.options.horizon: expected a whole number of at least 1, got 'x'.",
    "  options: {horzon: 3}\n": "news.yaml:5: data.options.horzon is not a key. Did you mean 'horizon'?",
    "  columns: {tme: date}\n": (
        "news.yaml:5: data.columns.tme: time-series-forecasting has no column role 'tme'. Did you mean 'time'?"
    ),
    "evaluate: {slices: [wekday]}\n": (
        "news.yaml:5: evaluate.slices[0]: time-series-forecasting has no slice 'wekday'. Did you mean 'weekday'?"
    ),
    "tune: {method: lora}\n": (
        "news.yaml:5: tune.method: 'lora' needs an open model (`model.from`), got a new one. Write `method: full`."
    ),
    "publish: {repo: '${NOBODY_SET_THIS}/x'}\n": (
        "news.yaml:5: expected the environment variable NOBODY_SET_THIS, it is not set. "
        "Set it, or write ${NOBODY_SET_THIS:-default}."
    ),
    "publish: {repo: 'a${b'}\n": (
        "news.yaml:5: expected ${NAME} or ${NAME:-default}, got an open `${`. Write `$${` for it."
    ),
    "data: {}\n": "news.yaml:5: 'data' stands here twice. Remove one.",
    "extends: nowhere.yaml\n": "news.yaml:5: extends: there is no recipe at ",
    "extends: [a]\n": "news.yaml:5: extends: expected the name of one recipe file, got ['a'].",
}


@pytest.mark.parametrize("more", MISTAKES)
def test_a_mistake_is_told_with_line_and_key(more: str, tmp_path: Path) -> None:
    assert mistake(tmp_path, BASE + more).startswith(MISTAKES[more])


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("{new: liner}", "model.new: time-series-forecasting has no architecture 'liner'. Did you mean 'linear'?"),
        ("{new: linear, options: {a: 1}}", "model.options.a is not a key. Known: lookback."),
        ("{from: a/b, new: x}", "model: expected one of `from`, `new` and `auto`, got `from` and `new`."),
        ("{}", "model: expected one of `from`, `new` and `auto`, got none of them."),
        ("{auto: [{new: linear}, {}]}", "model.auto[1]: expected one of `from` and `new`, got none of them."),
        ("{auto: [{new: liner}]}", "model.auto[0].new: time-series-forecasting has no architecture 'liner'."),
        ("{from: a/b, options: {a: 1}}", "model: options belong to a `new` architecture, got them beside `from`."),
    ],
)
def test_a_wrong_model_is_told(model: str, told: str, tmp_path: Path) -> None:
    assert mistake(tmp_path, BASE.replace("{new: linear}", model)).startswith(f"news.yaml:2: {told}")


def test_an_open_model_is_refused_by_a_task_that_takes_none(tmp_path: Path) -> None:
    text = BASE.replace("time-series-forecasting", "recommendation").replace("{new: linear}", "{from: a/b}")
    assert mistake(tmp_path, text).startswith("news.yaml:2: model.from: recommendation takes no open model.")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    told = mistake(tmp_path, "task: 3\ntune: {epohcs: 2}\nexplain: {examples: x}\n").splitlines()
    assert [line.split(" ")[0] for line in told] == [
        "news.yaml:",
        "news.yaml:",
        "news.yaml:1:",
        "news.yaml:2:",
        "news.yaml:3:",
    ]


@pytest.mark.parametrize("text", ["", "- a", "task", "3"])
def test_what_is_no_recipe_is_told(text: str, tmp_path: Path) -> None:
    assert "expected `key: value` lines" in mistake(tmp_path, text)


def test_an_unknown_task_has_a_suggestion(tmp_path: Path) -> None:
    told = mistake(tmp_path, BASE.replace("forecasting", "forcasting"))
    assert (
        told == "news.yaml:1: task: There is no task 'time-series-forcasting'. Did you mean 'time-series-forecasting'?"
    )


def test_a_recipe_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="commons init"):
        load(tmp_path / "no.yaml")
    with pytest.raises(NotFound, match="cannot be read"):
        load(tmp_path)


# --- layers ---------------------------------------------------------------------------------------------------------


def test_the_command_line_wins(tmp_path: Path) -> None:
    overrides = ["tune.epochs=1e1", "data.options.horizon=3", "shrink=[int8]", "publish.repo=a/b", "tune.seeds=[1, 2]"]
    recipe = load(write(tmp_path, BASE + "tune: {epochs: 3, warmup: 0.2}\n"), overrides)
    assert recipe.tune.epochs == 10 and recipe.tune.warmup == 0.2 and recipe.tune.seeds == (1, 2)
    assert recipe.data.options == {"horizon": 3} and recipe.shrink.formats == ("int8",) and recipe.publish.repo == "a/b"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("tune.epohcs=3", "command line: tune.epohcs is not a key. Did you mean 'epochs'?"),
        ("tune.epochs=x", "command line: tune.epochs: expected a number above 0 or 'auto', got 'x'."),
        ("tune.epochs", "command line: expected key=value, such as tune.epochs=3, got 'tune.epochs'."),
        ("tune..epochs=1", "command line: expected key=value"),
        ("data=3", "command line: data: expected `key: value` lines, got 3."),
        ("data.options.horizon=x", "command line: data.options.horizon: expected a whole number"),
        ("tune.seeds=[1", "command line: tune.seeds:1: expected YAML"),
    ],
)
def test_a_mistake_on_the_command_line_is_told_as_such(override: str, told: str, tmp_path: Path) -> None:
    assert mistake(tmp_path, BASE, [override]).startswith(told)


def test_a_recipe_builds_on_one_other(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(
        tmp_path / "deep",
        BASE + "tune: {epochs: 3, warmup: 0.2}\nshrink: {formats: [onnx], max_loss: 0.2}\n",
        "base.yaml",
    )
    child = load(write(tmp_path, "extends: deep/base.yaml\nmodel: {new: rnn}\ntune: {epochs: 4}\nshrink: [int8]\n"))
    assert (child.model.new, child.tune.epochs, child.tune.warmup) == ("rnn", 4, 0.2)
    assert child.shrink.formats == ("int8",) and child.shrink.max_loss == 0.2
    assert child.data.source == str(tmp_path / "deep" / "x.csv"), "a path is relative to the file it stands in"
    assert child.name == "news"
    assert "one parent" in _raised(load, write(tmp_path, "extends: news.yaml\n", "grandchild.yaml"))
    lost = _raised(load, write(tmp_path, "extends: gone.yaml\n", "lost.yaml"))
    assert lost.startswith("lost.yaml:1: extends: there is no recipe at") and "gone.yaml" in lost


def test_another_way_to_choose_a_model_replaces_the_first(tmp_path: Path) -> None:
    write(tmp_path, BASE.replace("{new: linear}", "{new: linear, options: {lookback: 3}}"), "base.yaml")
    child = load(write(tmp_path, "extends: base.yaml\nmodel: {auto: [{new: rnn}, {new: linear}]}\n"))
    assert child.model.new is None and child.model.options == {} and len(child.model.auto or ()) == 2


def test_variables_come_from_the_environment(tmp_path: Path) -> None:
    text = BASE + "publish: {repo: '${WHO:-ada}/${WHAT}', name: '$${WHO} costs $5'}\ntune:\n  epochs: ${EPOCHS}\n"
    recipe = load(write(tmp_path, text), environment={"WHAT": "x", "EPOCHS": "3"})
    assert recipe.publish.repo == "ada/x" and recipe.publish.name == "${WHO} costs $5" and recipe.tune.epochs == 3
    assert "${A} is not a key" in _raised(load, write(tmp_path, BASE + "${A}: 1\n"), (), {"A": "tune"})


def test_a_strangers_recipe_reads_nothing_of_mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    told = _raised(load_resolved, write(tmp_path, BASE.replace("./x.csv", "evil/${SECRET}")))
    assert "SECRET" in told and "hunter2" not in told
    assert "extends" in _raised(load_resolved, write(tmp_path, BASE + "extends: ../../etc/passwd\n"))


def _raised(call: Any, *arguments: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        call(*arguments)
    return str(caught.value)


# --- paths, digests and writing -------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "news").mkdir()
    path = write(tmp_path, BASE.replace("./x.csv", "news"))
    assert load(path).data.source == str(tmp_path / "news")
    assert load(write(tmp_path, BASE.replace("./x.csv", "owner/news"))).data.source == "owner/news"
    assert load(write(tmp_path, BASE.replace("./x.csv", "bundled:co2"))).data.source == "bundled:co2"
    monkeypatch.chdir(tmp_path / "news")
    assert load(path, ["data.source=./y.csv"]).data.source == str(tmp_path / "news" / "y.csv")


def test_what_is_written_out_is_the_same_recipe(tmp_path: Path) -> None:
    text = BASE + "publish: {name: 'a $${b} 1e-3'}\nshrink: [int8]\nexplain:\ntune: {learning_rate: 1e-5}\n"
    recipe = load(write(tmp_path, text))
    again = load_resolved(write(tmp_path, dump(recipe), "recipe.yaml"))
    assert again.model_dump() == recipe.model_dump() and again.name == "news"
    assert again.digest() == recipe.digest() == load(tmp_path / "recipe.yaml").digest()


def test_a_recipe_that_was_signed_keeps_its_digest_when_a_later_version_knows_more_keys(tmp_path: Path) -> None:
    recipe = load(write(tmp_path, BASE))
    (tmp_path / "new.yaml").write_text(dump(recipe))
    old = "\n".join(line for line in dump(recipe).splitlines() if not line.startswith("  disturb:"))
    assert old != dump(recipe).rstrip()
    (tmp_path / "old.yaml").write_text(old)
    assert load_resolved(tmp_path / "old.yaml").digest() == load_resolved(tmp_path / "new.yaml").digest()


def test_a_digest_forgets_where_and_knows_what(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = load(write(tmp_path / "a", BASE)), load(write(tmp_path / "b", BASE, "renamed.yaml"))
    assert one.digest() == other.digest() == shareable(one).digest()
    assert shareable(one).data.source == "x.csv" and str(tmp_path) not in dump(shareable(one))
    assert one.digest() != load(tmp_path / "a" / "news.yaml", ["tune.warmup=0.3"]).digest()
    assert one.digest(["task"]) == load(tmp_path / "a" / "news.yaml", ["tune.warmup=0.3"]).digest(["task"])


def test_the_schema_agrees_with_the_loader(tmp_path: Path) -> None:
    import jsonschema  # a second and more, for this alone

    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    good = [{"task": "x", "shrink": ["int8"], "tune": {"epochs": "auto"}}, {"extends": "base.yaml"}]
    bad = [{"task": "x", "shrink": ["int9"]}, {"tune": {"epohcs": 3}}, {"tune": {"epochs": -1}}]
    assert all(validator.is_valid(value) for value in good) and not any(validator.is_valid(value) for value in bad)
    recipe = load(write(tmp_path, BASE))
    assert validator.is_valid(json.loads(recipe.model_dump_json(by_alias=True)))


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_of_ours_resolves(path: Path) -> None:
    assert resolve(load(path)).name == Recipe.model_validate(load(path).model_dump(by_alias=True)).task


def test_a_recipe_bomb_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        load(write(tmp_path, "[" * 100_000))
    with open(tmp_path / "large.yaml", "wb") as file:
        file.truncate(10**9)
    with pytest.raises(FormatError, match="at most 128 KiB"):
        load(tmp_path / "large.yaml")
