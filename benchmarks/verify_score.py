"""Seconds of `commons verify --level score` over a million stored answers, beside only reading them with Python's own
gzip and json; the process must not import torch.

python benchmarks/verify_score.py [answers, default 1000000]
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import heading
from safetensors.numpy import save_file

from modelcommons.formats import keys, predictions, receipt
from modelcommons.formats.digest import folder_sha256, ids_sha256
from modelcommons.workbench import fields
from modelcommons.workbench.recipe import Recipe, dump
from modelcommons.workbench.stages import evaluate

RUNS = 3
MOST = 10.0  # seconds
LABELS = ["animal", "ship", "star", "tree", "stone"]
TASK = fields.find("text-classification")
BASELINE = {"label": LABELS[0], "probabilities": {LABELS[0]: 1.0}}
READ = "import gzip, json, sys\nfor line in gzip.open(sys.argv[1]): json.loads(line)"
VERIFY = """
import sys
from modelcommons.cli import main
try: main(["verify", sys.argv[1], "--level", "score"])
finally: assert "torch" not in sys.modules
"""


def main() -> None:
    heading()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = make(Path(name) / "model", count)
        answered = folder / "predictions" / "model.jsonl.gz"
        print(f"{count:,} answers, {answered.stat().st_size / 1e6:.0f} MB packed; as many of the baseline\n")
        taken: dict[str, list[float]] = {"commons verify --level score": [], "gzip and json alone": []}
        for _ in range(RUNS):  # in turn, so that a busy machine is unfair to neither
            taken["commons verify --level score"].append(seconds(VERIFY, folder))
            taken["gzip and json alone"].append(seconds(READ, answered))
    for name, found in taken.items():
        middle = statistics.median(found)
        print(f"{name:<30}{middle:6.1f} s (median; {min(found):.1f} to {max(found):.1f}, n = {RUNS})")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    middle = statistics.median(taken["commons verify --level score"])
    print(f"peak memory {peak:,.0f} MiB; torch was not imported")
    print(f"expected: less than {MOST:g} s; it {'holds' if middle < MOST else 'does not hold'}")


def make(folder: Path, count: int) -> Path:
    """A model folder with so many answers, 9 of 10 right, and a receipt that fits."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "modelcommons-text-bag"}))
    save_file({"weight": np.zeros(4, np.float32)}, folder / "model.safetensors")
    sections = {"task": TASK.name, "model": {"new": "bag"}, "data": {"source": "made-up"}}
    recipe = Recipe.model_validate(sections)
    (folder / "recipe.yaml").write_text(dump(recipe))
    (folder / "README.md").write_text("# Made up\n")
    chance = np.random.default_rng(0)
    targets = chance.integers(0, len(LABELS), count).tolist()
    shares = chance.dirichlet(np.ones(len(LABELS)), count).round(6)
    right = chance.random(count) < 0.9

    def line(index: int) -> dict[str, object]:
        target, row = targets[index], shares[index].tolist()
        best = int(np.argmax(row))
        wanted = target if right[index] else (target + 1) % len(LABELS)
        row[best], row[wanted] = row[wanted], row[best]
        answer = {"label": LABELS[wanted], "probabilities": dict(zip(LABELS, row, strict=True))}
        return {"id": f"row-{index}", "target": LABELS[target], "prediction": answer, "margin": round(max(row) / 2, 6)}

    floor = (
        {"id": f"row-{n}", "target": LABELS[targets[n]], "prediction": BASELINE, "margin": 1.0} for n in range(count)
    )
    written = predictions.write(folder / "predictions" / "model.jsonl.gz", map(line, range(count)))
    base = predictions.write(folder / "predictions" / "baseline.jsonl.gz", floor)
    sign(folder, recipe, written, base)
    return folder


def sign(folder: Path, recipe: Recipe, written: predictions.Written, base: predictions.Written) -> None:
    lines, floor = (predictions.read(folder / "predictions" / f"{name}.jsonl.gz") for name in ("model", "baseline"))
    results = evaluate.results(TASK.scores(lines), TASK.scores(floor))
    data = {
        "name": "made-up",
        "sha256": "0" * 64,
        "split": "test",
        "idsSha256": ids_sha256(lines.ids),
        "rows": len(lines),
        "recipeSha256": recipe.digest(evaluate.JUDGED),
    }
    baseline = {"name": "one class", "sha256": base.sha256, "merkleRoot": base.merkle_root}
    rule = {**evaluate.rule(TASK, recipe), "noise": "0.0001", "baseline": baseline}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    predicate = receipt.Predicate(
        relationship="first-party",
        claim=receipt.Claim(metric=results[0].metric, value=results[0].value, split="test"),
        verdict="MEASURED",
        results=results,
        inputs=receipt.Inputs(data=data, protocol=rule, evaluator={}, environment={}),
        predictions=receipt.Predictions(sha256=written.sha256, root=written.merkle_root, count=written.count),
        exclusions=(),
        cost={},
        started=now,
        finished=now,
    )
    digest = folder_sha256(folder, TASK.files(folder))
    statement = receipt.Statement(
        subject=(receipt.Subject(name="made-up:model", digest={"sha256": digest}),), predicate=predicate
    )
    (folder / "receipts").mkdir()
    (folder / "receipts" / "model.json").write_bytes(receipt.sign(statement, keys.own(folder.parent / "key")))


def seconds(program: str, argument: Path) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, str(argument)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
