"""a made-up run, finished: hand-made values of every stage, for the tests of card, report and publish.

Whatever strangers can choose (labels, ids, names, texts) is hostile here.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from modelcommons.formats import keys, predictions, receipt
from modelcommons.formats.licence import Work, derive
from modelcommons.formats.receipt import decimal
from modelcommons.workbench.engine import classification
from modelcommons.workbench.engine.attribution import Deletion
from modelcommons.workbench.engine.scoring import Score
from modelcommons.workbench.engine.training import Fit, Point
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.stages.evaluate import Evaluated, Evaluation
from modelcommons.workbench.stages.explain import Explained, ExplainedRow, Feature
from modelcommons.workbench.stages.get import Got, Origin
from modelcommons.workbench.stages.prepare import Prepared
from modelcommons.workbench.stages.report.sections import Facts
from modelcommons.workbench.stages.shrink import Export, Shrunk
from modelcommons.workbench.stages.tune import Chosen, Trained, Tried, Tuned
from modelcommons.workbench.task import Choice, Parts, Source, SourceFile

HOSTILE = "<script>alert('x')</script> $x^ & \"q\" `b` *em* ](http://evil) ]]> --> 中文"
LABELS = ["shirt", "boot", HOSTILE]
HEX = "ab" * 32


class Ids(list[str]):
    """Rows of which only the ids matter."""

    def ids(self) -> list[str]:
        return self


def lines(count: int = 200) -> list[dict[str, Any]]:
    chance = np.random.default_rng(0)
    probabilities = chance.dirichlet(np.ones(3) * 0.3, count)
    answers = classification.answers(probabilities, LABELS)
    right = [LABELS[int(row.argmax()) if chance.random() < 0.8 else 0] for row in probabilities]
    return [{"id": f"{HOSTILE} {n}", "target": y, **a} for n, (y, a) in enumerate(zip(right, answers, strict=True))]


def scores(shift: float = 0.0) -> tuple[Score, ...]:
    values = {"accuracy": ("higher", 0.9), "log_loss": ("lower", 0.25)}
    return tuple(
        Score(name, value + shift, direction, value + shift - 0.02, value + shift + 0.02, "wilson")  # type: ignore[arg-type]
        for name, (direction, value) in values.items()
    )


def evaluation(name: str, seed: int = 0, shift: float = 0.0) -> Evaluation:
    return Evaluation(
        name, seed, f"{name}.onnx" if "/" in name else "", scores(shift), scores(-0.4), "majority class",
        scores(-0.01) if name == "model" else (), {"length": {"short": scores(), HOSTILE: scores(-0.2)}},
        {"": scores(), "noise": scores(-0.1)} if name == "model" else {}, 100,
        f"evaluate/predictions/{name}.jsonl.gz", f"evaluate/receipts/{name}.json", HEX, 1e-4, 12.3, 200,
    )  # fmt: skip


COST = {"energyWh": {"value": "0.413", "band": "0.392 to 0.434", "method": "RAPL"}}


def signed(made: Evaluation, key: keys.Key) -> bytes:
    """The receipt of an evaluation."""
    results = tuple(
        receipt.Result(
            metric=score.metric, direction=score.direction, value=decimal(score.value), baseline=decimal(floor.value),
            ci95=receipt.Interval(method=score.method, low=decimal(score.low), high=decimal(score.high)),
        )
        for score, floor in zip(made.scores, made.baseline, strict=True)
    )  # fmt: skip
    predicate = receipt.Predicate(
        relationship="first-party", verdict="MEASURED", results=results, exclusions=(), cost=COST,
        claim=receipt.Claim(metric=results[0].metric, value=results[0].value, split="test"),
        inputs=receipt.Inputs(data={}, protocol={}, evaluator={}, environment={"python": "3.11", "cpu": HOSTILE}),
        predictions=receipt.Predictions(sha256=HEX, root=HEX, count=made.num_rows),
        started="2026-11-23T00:00:00Z", finished="2026-11-23T00:00:01Z",
    )  # fmt: skip
    subject = receipt.Subject(name=f"x:{made.name}", digest={"sha256": HEX})
    return receipt.sign(receipt.Statement(subject=(subject,), predicate=predicate), key)


def fit(shift: float) -> Fit:
    curve = tuple(Point(n * 100, n / 4, n * 3.0, 2 / n, 0.9 - 0.5 / n + shift) for n in range(1, 9))
    more = f"Twice the time would likely bring 0.4 points {HOSTILE}"
    return Fit("accuracy", 0.9, curve, 800, 2.0, 24.0, 1320.0, 22_700_000, 1_000, "budget", more, {"batch_size": 32})


REPORT = {
    "rows": {"read": 1_010, "bad": 2, "train": 700, "validation": 100, "test": 200},
    "bad": [
        {"where": f"a.csv:7 {HOSTILE}", "reason": f"label is {HOSTILE}"},
        {"where": "a.csv:9", "reason": "no text"},
    ],
    "ids_sha256": {"train": HEX, "validation": HEX, "test": HEX},
    "split": "official test, validation by hash of the id",
    "duplicates": {"exact": 8, "near": None, "dropped": 8},
    "leaks": {"exact": 2, "near": 3, "dropped": 0},
    "classes": {part: dict.fromkeys(LABELS, 10) for part in ("train", "validation", "test")},
    "unseen_classes": [HOSTILE],
    "personal_data": {"policy": "report", "hits": {"email": 114, "iban": 1}, "rows": 100},
    "notes": [f"2 gaps filled {HOSTILE}"],
}


def recipe(**publish: Any) -> Recipe:
    asked = {"task": "text-classification", "model": {"from": "commons/minilm-l6"}, "data": {"source": "ada/news"}}
    return Recipe.model_validate(asked | {"publish": publish})


def got(licence: str | None = "cc-by-4.0") -> Got:
    files = (SourceFile("train.csv", 1_000, HEX),)
    source = Source("ada/news", Path(), files, HEX, "3f2a", licence, "https://hub/datasets/ada/news", HOSTILE)
    origin = Origin("commons/minilm-l6", "9c41", "apache-2.0", HEX, 22_700_000)
    return Got(source, (Choice(Path(), "commons/minilm-l6"),), (origin,))


def prepared() -> Prepared:
    parts = Parts(Ids(), Ids(), Ids(), str(REPORT["split"]))  # type: ignore[arg-type]
    return Prepared(parts, frozenset({"a", "b"}), REPORT, {"test": HEX})


def tuned() -> Tuned:
    trained = tuple(Trained(seed, f"tune/seed-{seed}/model", fit(-0.01 * seed)) for seed in range(3))
    tried = (Tried("commons/minilm-l6", {}, 0.8, 60.0), Tried("ngrams", {"width": HOSTILE}, 0.7, 60.0))
    return Tuned(0, trained, tried, Chosen(0, "commons/minilm-l6", {}))


def scored() -> Evaluated:
    others = (evaluation("seed-1", 1, -0.01), evaluation("seed-2", 2, 0.01))
    return Evaluated(evaluation("model"), others, "evaluate/predictions/baseline.jsonl.gz")


def shrunk() -> Shrunk:
    times = {"1": 8.5, "32": 10.7}
    good = Export(
        "int8",
        "onnx/model_int8.onnx",
        22_900_000,
        91_600_000,
        times,
        times,
        evaluation("onnx/model_int8"),
        31,
        0.41,
        True,
        "",
    )
    why = "accuracy is 2.1 % worse than its parent, the recipe allows 1 %"
    bad = replace(
        good,
        format="onnx",
        path="onnx/model.onnx",
        evaluation=evaluation("onnx/model"),
        p_value=1e-5,
        accepted=False,
        why=why,
    )
    return Shrunk((good, bad), "")


def explained(skipped: str = "") -> Explained:
    if skipped:
        return Explained((), None, skipped)
    row = ExplainedRow(
        f"7 {HOSTILE}", HOSTILE, "boot", "<p><mark>quick</mark> &lt;fox&gt;</p>", (Feature("quick", 0.4),)
    )
    return Explained((row, row), Deletion(0.41, 0.12, 0.0004, 7, 8, 10, 0.2), "")


@cache
def figures(language: Literal["en", "zh"]) -> tuple[tuple[str, str], ...]:
    return tuple(classification.figures(lines(), language))


def facts(tmp_path: Path, language: Literal["en", "zh"] = "en", **changes: Any) -> Facts:
    """All of it, with receipts that are really signed."""
    key = keys.own(tmp_path)
    made = [scored().main, *scored().others, shrunk().exports[0].evaluation]
    asked = recipe(repo="ada/news-minilm", language=language)
    whole = Facts(
        title="news-minilm", address="ada/news-minilm", url="https://hub/ada/news-minilm/blob/main", recipe=asked,
        got=got(), data=prepared(), tuned=tuned(), scored=scored(), explained=explained(), shrunk=shrunk(),
        decision=derive([Work("commons/minilm-l6", "mit")], [Work("ada/news", "mit")], language=asked.publish.language),
        receipts={each.name: receipt.parse(signed(each, key)) for each in made}, version="0.1.0", has_transformers=True,
        figures=figures(language),
    )  # fmt: skip
    return replace(whole, **changes)


def run_folder(path: Path) -> Path:
    """A run folder as the stages before publish leave it."""
    key = keys.own(path / "key")
    for seed in range(3):
        model = path / f"tune/seed-{seed}/model"
        model.mkdir(parents=True)
        (model / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForSequenceClassification"]}')
        (model / "model.safetensors").write_text(f"weights {seed}")
    for made in (scored().main, *scored().others, *(export.evaluation for export in shrunk().exports)):
        predictions.write(path / made.predictions, lines())
        (path / made.receipt).parent.mkdir(parents=True, exist_ok=True)
        (path / made.receipt).write_bytes(signed(made, key))
    shutil.copy(path / scored().main.predictions, path / scored().baseline_predictions)
    (path / "shrink/onnx").mkdir(parents=True)
    (path / "shrink/onnx/model.onnx").write_text("bad")
    (path / "shrink/onnx/model_int8.onnx").write_text("good")
    return path
