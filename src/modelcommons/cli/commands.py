"""the commands: each parses, calls one public function and prints what came back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modelcommons.cli.hub import hub
from modelcommons.cli.options import Debug, Json, Quiet
from modelcommons.cli.output import plain, progress, show, table, write

# plain help: rich's costs half of the time that `commons --help` may take
app = typer.Typer(
    rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False,
    help="""Adapt an open model on a laptop, and publish numbers that anybody can check.

    \b
    commons init image-classification     write a recipe
    commons run recipe.yaml               data -> model folder, every number with a receipt
    commons verify runs/recipe-1a2b3c4d   check every number

    Exit codes: 0 ok; 1 it does not hold; 2 usage, bad input, or cannot decide; 3 budget reached before
    anything usable; 130 stopped.
    """,
)  # fmt: skip

app.add_typer(hub, name="hub")

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file.", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Such as tune.epochs=3.")]


@app.command()
def tasks(json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List what can be asked of a model.

    Each task with its one line, and the architectures that are new here.

    \b
    commons tasks
    """
    from modelcommons.workbench import fields

    known = [fields.find(name) for name in fields.TASKS]
    value = [
        {
            "task": task.name,
            "field": task.field,
            "summary": task.summary,
            "new": list(task.architectures),
            "open_models": list(task.open_models),
            "columns": dict(task.roles),
            "metrics": [metric.name for metric in task.metrics],
        }
        for task in known
    ]
    rows = [(task.name, task.summary, f"new: {', '.join(task.architectures)}") for task in known]
    show(value, table(rows), json)


@app.command()
def find(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORD...]", help="Words of the name, all of them.")
    ] = None,
    task: Annotated[str, typer.Option(help="See `commons tasks`.")] = "",
    field: Annotated[str, typer.Option(help="image, text, speech, ...: any task of it.")] = "",
    licence: Annotated[str, typer.Option("--license", help="Such as apache-2.0.")] = "",
    language: Annotated[str, typer.Option(help="Such as en or zh.")] = "",
    size: Annotated[str, typer.Option(help="Parameters: 50M (at most), 1M..50M, 1M..")] = "",
    protocol: Annotated[str, typer.Option(help="Measured by it, says a signed receipt: sms-spam/v1.")] = "",
    metric: Annotated[list[str] | None, typer.Option(help="Such as 'accuracy>=0.9', says a signed receipt.")] = None,
    inside: Annotated[
        list[Path] | None, typer.Option("--in", help="A folder with models; `runs` if it is there.")
    ] = None,
    on_hub: Annotated[bool, typer.Option("--hub/--no-hub", help="Whether HF_ENDPOINT is asked too.")] = True,
    limit: Annotated[int, typer.Option(min=1, help="How many are shown.")] = 20,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find models, by what they are and what was measured.

    In folders and on the hub. A number counts where its receipt's signature holds; whether the weights are those
    that it is about, `commons verify` says.

    \b
    commons find --task text-classification --license apache-2.0 --size 50M
    commons find --protocol sms-spam/v1 --metric "accuracy>=0.98"
    """
    from modelcommons.workbench.find import find as look
    from modelcommons.workbench.find import wanted

    asked = wanted(
        words or (), task=task, field=field, licence=licence, language=language, size=size, protocol=protocol,
        metrics=metric or (),
    )  # fmt: skip
    folders = inside or [folder for folder in (Path("runs"),) if folder.is_dir()]
    with progress(quiet) as told:
        found = look(asked, folders, on_hub=on_hub, limit=limit, progress=told)
    show(found, _found(found), json)


def _found(found: list[Any]) -> str:
    if not found:
        return "No model fits. Ask for less, or look elsewhere: --in FOLDER, HF_ENDPOINT."
    rows = [
        (
            one.name, one.task, one.licence or "-", " ".join(one.languages) or "-",
            f"{one.parameters:,}" if one.parameters is not None else "-", _numbers(one),
        )
        for one in found
    ]  # fmt: skip
    return table(rows, ("model", "task", "licence", "language", "parameters", "signed receipt"))


def _numbers(one: Any) -> str:
    told = [f"{each.metric} {each.value:.4g} [{each.low:.4g}, {each.high:.4g}]" for each in one.measured]
    return " · ".join([*told, *(each.protocol for each in one.measured[:1] if each.protocol)]) or "-"


@app.command()
def init(
    task: Annotated[str, typer.Argument(metavar="TASK", help="See `commons tasks`.", show_default=False)],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Where to write it.")] = Path("recipe.yaml"),
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a commented recipe.

    It shows every key, and runs as it is where a Python package brings data for the task; else it names ./data, where
    yours may lie. Nothing is overwritten.

    \b
    commons init text-classification news.yaml
    """
    from modelcommons.cli.starter import starter
    from modelcommons.errors import UsageError

    text = starter(task)
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already, and nothing is overwritten. Name another path.") from None
    show({"path": str(path)}, f"Wrote {path}. Next: commons check {path}", json)


@app.command()
def check(
    recipe: Recipe, overrides: Overrides = None, json: Json = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Check recipe, data and licences.

    Nothing is trained. Data are fetched when they are not here yet.

    \b
    commons check recipe.yaml data.allow_bad_rows=0.01
    """
    import tempfile

    from modelcommons.workbench.find import settled
    from modelcommons.workbench.folder import RunFolder
    from modelcommons.workbench.recipe import load
    from modelcommons.workbench.resolve import resolve
    from modelcommons.workbench.stages.get import get
    from modelcommons.workbench.stages.prepare import prepare
    from modelcommons.workbench.stages.publish import decide

    asked = load(recipe, overrides or ())
    task = resolve(asked)
    with progress(quiet) as told, tempfile.TemporaryDirectory() as folder:
        asked = settled(asked, task, told)
        got = get(task, asked, told)
        data = prepare(task, got.source, asked, RunFolder(Path(folder)), told)
    licence = decide(got, asked).agreed()
    value = {"recipe": asked, "data": data.report, "license": licence.license}
    columns = [(each["name"], each["kind"], each["role"], each["example"]) for each in data.report["columns"]]
    words = [table(columns, ("column", "kind", "role", "example")), *data.report["notes"]]
    if data.report.get("classes"):
        words.append(f"classes in train: {_balance(data.report['classes']['train'])}")
    show(value, "\n".join([*words, f"licence of the model: {licence.name}", f"{recipe} can be run."]), json)


def _balance(counts: dict[str, int]) -> str:
    """Rows of each class, most frequent first: `spam 653, ham 481, ... and 3 more`."""
    most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rest = f", ... and {len(most) - 10} more" if len(most) > 10 else ""
    return ", ".join(f"{label} {count:,}" for label, count in most[:10]) + rest


@app.command()
def plan(
    recipe: Recipe, overrides: Overrides = None, json: Json = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Tell whether a recipe fits.

    Memory, disk, and time, from a few measured steps; and what the budget allows.

    \b
    commons plan recipe.yaml tune.epochs=10
    """
    from modelcommons.workbench.plan import plan
    from modelcommons.workbench.recipe import load

    with progress(quiet) as told:
        planned = plan(load(recipe, overrides or ()), told)
    about = {"seconds": planned.seconds, "fits": planned.fits, "why": planned.why}
    show({**plain(planned), **about}, str(planned), json)
    raise typer.Exit(0 if planned.fits else 1)


@app.command()
def run(
    recipe: Recipe,
    overrides: Overrides = None,
    folder: Annotated[Path | None, typer.Option(help="The run folder, instead of runs/<name>-<digest>.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe, and stop.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a recipe, or go on with it.

    From data to a model folder whose every number has a receipt. After a kill or Ctrl-C, run it again.

    \b
    commons run recipe.yaml tune.budget.minutes=10
    """
    from modelcommons.workbench import recipe as recipes

    asked = recipes.load(recipe, overrides or ())
    if dry_run:
        from modelcommons.workbench.resolve import resolve

        resolve(asked)
        show(asked, recipes.dump(asked).rstrip(), json)
        return
    from modelcommons.workbench.engine import ranks
    from modelcommons.workbench.run import follow, run

    if not ranks.leads():
        follow(asked)
        return
    with progress(quiet) as told:
        done = run(asked, folder, told)
    main = done.scored.main
    value = {
        "folder": done.folder,
        "model": done.folder / done.published.folder,
        "published": done.published,
        "scores": main.scores,
        "baseline": main.baseline,
        "rows": main.num_rows,
        "exports": done.shrunk.exports,
    }
    show(value, f"{_scores(main)}\ncheck it: commons verify {done.published.repo or done.folder}", json)


def _scores(evaluation: Any) -> str:
    rows = [
        (score.metric, f"{score.value:.4f}", f"[{score.low:.4f}, {score.high:.4f}]", f"{floor.value:.4f}")
        for score, floor in zip(evaluation.scores, evaluation.baseline, strict=True)
    ]
    return table(rows, ("metric", "value", "95 % interval", f"baseline ({evaluation.baseline_name})"))


@app.command()
def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run or model folder, or a hub id.")],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="A text, file or folder, or `-` for stdin.")],
    variant: Annotated[str, typer.Option(help="An export, such as onnx/model_int8.onnx.")] = "",
    stream: Annotated[bool, typer.Option("--stream", help="Print a text while it is written.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write answers that are sounds as WAV files into this folder.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Answer inputs, in JSON.

    One JSON line for each answer, with the name of the file that it is about as `id`; with --json one list; with
    --stream the bare text that a model writes. Of a folder every picture or recording is answered.

    \b
    commons predict runs/news-1a2b3c4d "How do I activate my card?"
    cat questions.txt | commons predict runs/news-1a2b3c4d -
    """
    import json as jsons

    from modelcommons.cli.inputs import read
    from modelcommons.cli.sounds import kept
    from modelcommons.workbench.serve import load

    served = load(model, variant)
    if stream:
        write(part for value in read(inputs) for part in served.stream(value))
        return
    answers = [answer for value in read(inputs) for answer in served.predict(value)]
    answers = kept(answers, out) if out else answers
    show(answers, "\n".join(jsons.dumps(answer, ensure_ascii=False) for answer in answers), json)


@app.command()
def verify(
    folder: Annotated[str, typer.Argument(metavar="FOLDER-OR-ID", help="A run or model folder, or a hub id.")],
    level: Annotated[str, typer.Option(help="signature, files, score, infer or train.")] = "score",
    sample: Annotated[str, typer.Option(help="Share of the rows answered again at infer: 0.1 or 10%.")] = "100%",
    key: Annotated[str | None, typer.Option(help="Fingerprint that must have signed: mc:...")] = None,
    data: Annotated[str | None, typer.Option(help="The data, where they are not where the recipe says.")] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check every number of a model.

    Level by level: signatures, files, scores from stored predictions (no torch), answers made again from the
    weights, the recipe trained again. Exit code 0: it holds; 1: it does not, and why; 2: it cannot be decided.

    \b
    commons verify runs/news-1a2b3c4d --level infer --sample 10%
    """
    from modelcommons.workbench.verify import verify as check_receipts

    with progress(quiet) as told:
        verdict = check_receipts(folder, level, sample=_share(sample), key=key, data=data, progress=told)
    show({"outcome": verdict.outcome, **plain(verdict)}, str(verdict), json)
    raise typer.Exit(verdict.exit_code)


def _share(text: str) -> float:
    """`10%` or `0.1`."""
    from modelcommons.errors import UsageError

    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UsageError(f"Expected a share such as 10% or 0.1, got '{text}'.") from None


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A run, a model, a hub id, or a predictions file.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another that answered the same rows.")],
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare two models on the same rows.

    Which answers changed, and a paired test of whether one is better.

    \b
    commons diff runs/news-1a2b3c4d runs/news-5e6f7a8b
    """
    from modelcommons.workbench.diff import diff as compare

    compared = compare(a, b)
    show({**plain(compared), "winner": compared.winner}, str(compared), json)


@app.command()
def schema(json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Print the JSON schema of a recipe.

    For editors: `# yaml-language-server: $schema=recipe.schema.json` as the first line of a recipe.

    \b
    commons schema > recipe.schema.json
    """
    from modelcommons.workbench.recipe import schema

    show(schema(), "", as_json=True)


@app.command()
def version(json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Print the versions.

    Ours, and those of the packages that numbers depend on.

    \b
    commons version
    """
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    import modelcommons

    found = {"modelcommons": modelcommons.__version__, "python": platform.python_version()}
    for package in ("numpy", "torch", "transformers", "onnxruntime", "pyarrow", "safetensors"):
        try:
            found[package] = installed(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    show(found, table(list(found.items())), json)
