"""planted lies and honest copies: each lie is caught at the level that says so, each honest folder passes.

A liar without the author's key edits files; a liar with a key of their own signs anew whatever they changed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelcommons as mc
from modelcommons.cli import main
from modelcommons.errors import NotFound, UsageError
from modelcommons.formats import bom, card, keys, predictions, receipt
from modelcommons.formats.digest import folder_sha256, ids_sha256
from modelcommons.formats.receipt import Statement, decimal
from modelcommons.workbench import fields
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.run import run
from modelcommons.workbench.stages.evaluate import answers
from modelcommons.workbench.verify import LEVELS, _Shipped

TASK = fields.find("text-classification")
LABELS = ("animal", "ship", "star")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on texts of which every fifth has a wrong label, so that there are mistakes to hide; two seeds."""
    folder = tmp_path_factory.mktemp("made")
    tiny = TASK.tiny(folder / "data")
    notes = folder / "data" / "notes.csv"
    head, *rows = notes.read_text().splitlines()
    wrong = [f"{row.rsplit(',', 1)[0]},{LABELS[n % 7 % 3]}" if n % 5 == 0 else row for n, row in enumerate(rows)]
    notes.write_text("\n".join([head, *wrong]) + "\n")
    sections: dict[str, Any] = {
        "task": TASK.name, "data": {"source": str(tiny.source), "license": "cc0-1.0"}, "explain": {"examples": 0},
        "shrink": {"formats": ["onnx"]}, "model": tiny.recipe["model"], "tune": {"epochs": 6, "seeds": [0, 1]},
    }  # fmt: skip
    run(Recipe.model_validate(sections), folder / "run")
    return folder


@dataclass
class Liar:
    """Somebody with a copy of the model folder, a key of their own, and something to hide."""

    folder: Path
    key: keys.Key

    @property
    def receipt(self) -> Path:
        return self.folder / "receipts" / "model.json"

    def lines(self, name: str = "model") -> list[dict[str, Any]]:
        return list(predictions.read(self.folder / "predictions" / f"{name}.jsonl.gz"))

    def sign(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Signs the changed statement anew."""
        statement = receipt.read(self.receipt).statement.model_dump(mode="json", by_alias=True, exclude_none=True)
        change(statement)
        self.receipt.write_bytes(receipt.sign(Statement.model_validate(statement), self.key))

    def answer(self, lines: list[dict[str, Any]], floor: list[dict[str, Any]] | None = None) -> None:
        """Other predictions, with a receipt that fits them in every number and digest."""
        written = predictions.write(self.folder / "predictions" / "model.jsonl.gz", lines)
        base = predictions.write(self.folder / "predictions" / "baseline.jsonl.gz", floor or self.lines("baseline"))
        scores, floors = TASK.scores(lines), TASK.scores(self.lines("baseline"))

        def change(statement: dict[str, Any]) -> None:
            told = statement["predicate"]
            told["predictions"] = {"sha256": written.sha256, "merkleRoot": written.merkle_root, "count": written.count}
            told["inputs"]["data"] |= {"rows": len(lines), "idsSha256": ids_sha256(line["id"] for line in lines)}
            told["inputs"]["protocol"]["baseline"] |= {"sha256": base.sha256, "merkleRoot": base.merkle_root}
            told["results"] = [
                {
                    "metric": score.metric, "direction": score.direction, "value": decimal(score.value),
                    "ci95": {"method": score.method, "low": decimal(score.low), "high": decimal(score.high)},
                    "baseline": decimal(base.value), **({"num": score.num, "den": score.den} if score.den else {}),
                }
                for score, base in zip(scores, floors, strict=True)
            ]  # fmt: skip
            told["claim"] |= {"value": told["results"][0]["value"]}

        self.sign(change)
        self.hide_pages()
        self.drop_others()

    def hide_pages(self) -> None:
        """Card and report would give it away."""
        (self.folder / "README.md").write_text("# a card without numbers\n")
        for name in ("report.html", bom.NAME):
            (self.folder / name).unlink(missing_ok=True)

    def drop_others(self) -> None:
        """Other receipts of the folder would give a change of shared files away, and so would what they are of."""
        for path in (self.folder / "receipts").rglob("*.json"):
            if path != self.receipt:
                path.unlink()
        shutil.rmtree(self.folder / "onnx", ignore_errors=True)
        for path in (self.folder / "predictions").rglob("*.gz"):
            if path.name not in ("model.jsonl.gz", "baseline.jsonl.gz") or path.parent.name != "predictions":
                path.unlink()


@pytest.fixture
def liar(made: Path, tmp_path: Path) -> Liar:
    return Liar(shutil.copytree(made / "run" / "model", tmp_path / "model"), keys.own(tmp_path / "key"))


def test_the_honest_folder_passes_on_every_level(made: Path) -> None:
    verdict = mc.verify(made / "run", "train")
    assert verdict.holds, verdict
    reached = {(check.receipt, check.level): check.outcome for check in verdict.checks}
    assert all(outcome in ("PASS", "SKIPPED") for outcome in reached.values())
    assert sum(outcome == "PASS" for (_, level), outcome in reached.items() if level == "train") == 2, "of both seeds"
    assert verdict.signers == (keys.fingerprint(keys.own().public),)
    assert "EXACT" in next(c.reason for c in verdict.checks if (c.receipt, c.level) == ("receipts/model.json", "train"))


# --- lies -----------------------------------------------------------------------------------------------------------


def edited_number(liar: Liar) -> None:
    import base64

    envelope = json.loads(liar.receipt.read_text())
    payload = base64.b64decode(envelope["payload"]).replace(b'"value":"0.', b'"value":"1.', 1)
    liar.receipt.write_text(json.dumps({**envelope, "payload": base64.b64encode(payload).decode()}))


def other_names_key(liar: Liar) -> None:
    liar.sign(lambda statement: None)
    envelope = json.loads(liar.receipt.read_text())
    envelope["signatures"][0]["keyid"] = keys.fingerprint(keys.own().public)
    liar.receipt.write_text(json.dumps(envelope))


def receipt_of_another(liar: Liar) -> None:
    (other,) = (liar.folder / "receipts").glob("seed-*.json")
    shutil.copy(other, liar.receipt)


def claims_more_than_measured(liar: Liar) -> None:
    liar.sign(lambda statement: statement["predicate"]["claim"].update(value="0.999"))


def number_on_the_card(liar: Liar) -> None:
    page = liar.folder / "README.md"
    before = page.read_text()
    line = next(line for line in before.splitlines() if line.startswith("| `accuracy`") and "receipts/model" in line)
    cells = line.split(" | ")
    cells[1] = "0.9999"
    page.write_text(before.replace(line, " | ".join(cells)))


def headline_on_the_card(liar: Liar) -> None:
    page = liar.folder / "README.md"
    page.write_text(re.sub(r"(?m)^\*\*accuracy [\d.]+", "**accuracy 0.9999", page.read_text()))


def number_in_the_report(liar: Liar) -> None:
    report = liar.folder / "report.html"
    before = report.read_text()
    row = next(row for row in re.findall("<tr>.*?</tr>", before) if "receipts/model.json" in row and "accuracy" in row)
    report.write_text(before.replace(row, re.sub(r"<td>[\d.]+</td>", "<td>0.9999</td>", row, count=1)))


def headline_of_the_report(liar: Liar) -> None:
    report = liar.folder / "report.html"
    report.write_text(re.sub(r">accuracy [\d.]+ \[", ">accuracy 0.9999 [", report.read_text()))


def interval_in_the_front_matter(liar: Liar) -> None:
    page = liar.folder / "README.md"
    page.write_text(re.sub(r"ci95:(\s+)- [\d.]+", r"ci95:\1- 0.91234", page.read_text(), count=1))


def one_more_result_in_the_front_matter(liar: Liar) -> None:
    page = liar.folder / "README.md"
    more = "  results:\n  - task: {type: x}\n    metrics: [{type: accuracy, value: 0.9999}]\n"
    page.write_text(page.read_text().replace("  results:\n", more, 1))


def number_in_the_front_matter(liar: Liar) -> None:
    page = liar.folder / "README.md"
    value = next(line for line in page.read_text().splitlines() if line.strip().startswith("value: 0."))
    page.write_text(page.read_text().replace(value, value.split("value")[0] + "value: 0.9999", 1))


def number_in_the_bill(liar: Liar) -> None:
    bill = liar.folder / bom.NAME
    bill.write_text(re.sub(r'"value": "0\.\d+"', '"value": "0.9999"', bill.read_text(), count=1))


def number_for_the_leaderboard(liar: Liar) -> None:
    results = liar.folder / card.EVAL_RESULTS
    results.parent.mkdir()
    told = card.eval_results("ada/news", None, "receipts/model.json", receipt.read(liar.receipt))
    results.write_text(re.sub("value: .*", "value: 0.9999", told))


def swapped_weights(liar: Liar) -> None:
    weights = liar.folder / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-3] ^= 1
    weights.write_bytes(bytes(raw))


def swapped_labels(liar: Liar) -> None:
    config = liar.folder / "config.json"
    config.write_text(
        config.read_text().replace("animal", "ANIMAL").replace("ship", "animal").replace("ANIMAL", "ship")
    )


def swapped_predictions(liar: Liar) -> None:
    predictions.write(liar.folder / "predictions" / "model.jsonl.gz", perfect(liar.lines()))


def damaged_predictions(liar: Liar) -> None:
    path = liar.folder / "predictions" / "model.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-20])


def edited_recipe(liar: Liar) -> None:
    recipe = liar.folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 6.0", "epochs: 60.0").replace("epochs: 6\n", "epochs: 60\n"))


def better_number_signed(liar: Liar) -> None:
    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["results"][0]["value"] = statement["predicate"]["claim"]["value"] = "0.99"

    liar.sign(change)
    liar.hide_pages()


def narrower_interval_signed(liar: Liar) -> None:
    liar.sign(lambda statement: statement["predicate"]["results"][0]["ci95"].update(low="0.7"))
    liar.hide_pages()


def lower_baseline_signed(liar: Liar) -> None:
    liar.sign(lambda statement: statement["predicate"]["results"][0].update(baseline="0.01"))
    liar.hide_pages()


def removed_rows(liar: Liar) -> None:
    right = [line for line in liar.lines() if line["prediction"]["label"] == line["target"]]
    kept = {line["id"] for line in right}
    liar.answer(right, [line for line in liar.lines("baseline") if line["id"] in kept])


def other_split(liar: Liar) -> None:
    """Rows of the training part, on which the model is better, called the test."""
    renamed = [{**line, "id": f"{line['id']}9"} for line in liar.lines()]
    liar.answer(renamed, [{**line, "id": f"{line['id']}9"} for line in liar.lines("baseline")])


def targets_bent_to_the_answers(liar: Liar) -> None:
    lines = [{**line, "target": line["prediction"]["label"]} for line in liar.lines()]
    targets = {line["id"]: line["target"] for line in lines}
    liar.answer(lines, [{**line, "target": targets[line["id"]]} for line in liar.lines("baseline")])


def perfect(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    sure = dict.fromkeys(LABELS, 0.0005)
    return [
        {
            **line,
            "prediction": {"label": line["target"], "probabilities": {**sure, line["target"]: 0.999}},
            "margin": 0.9985,
        }
        for line in lines
    ]


def answers_never_made(liar: Liar) -> None:
    liar.answer(perfect(liar.lines()))


def noise_as_an_excuse(liar: Liar) -> None:
    liar.answer(perfect(liar.lines()))
    liar.sign(lambda statement: statement["predicate"]["inputs"]["protocol"].update(noise="1"))


def weakened_baseline(liar: Liar) -> None:
    floor = [
        {**line, "prediction": {**line["prediction"], "label": next(x for x in LABELS if x != line["target"])}}
        for line in liar.lines("baseline")
    ]
    liar.answer(liar.lines(), floor)


def tampered_and_scored_anew(liar: Liar) -> None:
    """Weights that the recipe never gave, honestly scored: only training again can tell."""
    from safetensors.numpy import load_file, save_file

    weights = liar.folder / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: value * np.float32(1.25) for name, value in tensors.items()}, weights, {"format": "pt"})
    targets = {line["id"]: line["target"] for line in liar.lines()}
    rows = _Shipped(liar.folder, liar.folder, liar.folder.parent / "data", mc.Silent()).parts.test
    answered = answers(TASK.load(liar.folder), rows)
    liar.answer([{"id": row.id, "target": targets[row.id], **answer} for row, answer in answered])
    digest = folder_sha256(liar.folder, TASK.files(liar.folder))
    liar.sign(lambda statement: statement["subject"][0]["digest"].update(sha256=digest))


@pytest.mark.parametrize(
    ("lie", "level", "reason"),
    [
        (edited_number, "signature", "signature does not fit"),
        (other_names_key, "signature", "forged"),
        (receipt_of_another, "signature", "belongs"),
        (claims_more_than_measured, "signature", "claims accuracy 0.999"),
        (number_on_the_card, "files", "The card says accuracy 0.9999"),
        (headline_on_the_card, "files", "The card says accuracy 0.9999"),
        (number_in_the_report, "files", "The report says accuracy 0.9999"),
        (headline_of_the_report, "files", "The report says accuracy 0.9999"),
        (number_in_the_front_matter, "files", "model-index"),
        (interval_in_the_front_matter, "files", "model-index"),
        (one_more_result_in_the_front_matter, "files", "accuracy 0.9999, which no receipt"),
        (number_in_the_bill, "files", "model.cdx.json has numbers"),
        (number_for_the_leaderboard, "files", "modelcommons.yaml says accuracy 0.9999"),
        (swapped_weights, "files", "The model is not the one"),
        (swapped_labels, "files", "The model is not the one"),
        (swapped_predictions, "files", "predictions/model.jsonl.gz is not"),
        (damaged_predictions, "files", "damaged"),
        (edited_recipe, "files", "recipe.yaml is not"),
        (better_number_signed, "score", "was signed as 0.99"),
        (narrower_interval_signed, "score", "was signed as"),
        (lower_baseline_signed, "score", "baseline"),
        (removed_rows, "score", "test part has"),
        (other_split, "score", "test part has"),
        (targets_bent_to_the_answers, "score", "targets are not the data's"),
        (answers_never_made, "infer", "are not the model's"),
        (noise_as_an_excuse, "infer", "are not the model's"),
        (weakened_baseline, "infer", "of the baseline"),
        (tampered_and_scored_anew, "train", "other weights"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_lie_is_caught(liar: Liar, made: Path, lie: Callable[[Liar], None], level: str, reason: str) -> None:
    shutil.copytree(made / "data", liar.folder.parent / "data")
    lie(liar)
    if level != "signature":  # up to there, all is well
        below = mc.verify(liar.folder, LEVELS[LEVELS.index(level) - 1], data=made / "data")
        assert (
            next(check for check in reversed(below.checks) if check.receipt == "receipts/model.json").outcome == "PASS"
        )
    verdict = mc.verify(liar.folder, level, data=made / "data")
    (failed,) = (check for check in verdict.checks if (check.receipt, check.outcome) == ("receipts/model.json", "FAIL"))
    assert failed.level == level and reason in failed.reason, verdict
    assert verdict.exit_code == 1 and not verdict.holds


def test_a_forged_key_is_caught_by_the_fingerprint(liar: Liar) -> None:
    liar.sign(lambda statement: None)
    liar.drop_others()
    liar.hide_pages()
    assert mc.verify(liar.folder).holds, "nothing but the key is wrong"
    verdict = mc.verify(liar.folder, "signature", key=keys.fingerprint(keys.own().public))
    assert verdict.outcome == "FAIL" and "Expected the signature of" in verdict.checks[0].reason


def test_rows_that_differ_are_named(liar: Liar, made: Path) -> None:
    answers_never_made(liar)
    verdict = mc.verify(liar.folder, "infer", data=made / "data")
    assert verdict.checks[-1].ids and verdict.checks[-1].ids[0] in str(verdict)


# --- honest folders -------------------------------------------------------------------------------------------------


def moved(made: Path, to: Path) -> Path:
    return shutil.copytree(made / "run" / "model", to / "elsewhere" / "their name")


def old_and_read_only(made: Path, to: Path) -> Path:
    folder = moved(made, to)
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


def without_report_and_exports(made: Path, to: Path) -> Path:
    folder = moved(made, to)
    (folder / "report.html").unlink()
    return folder


def with_a_note_beside(made: Path, to: Path) -> Path:
    folder = moved(made, to)
    (folder / "notes.txt").write_text("mine")
    (folder / ".DS_Store").write_bytes(b"\0")
    return folder


def with_words_on_the_card(made: Path, to: Path) -> Path:
    page = moved(made, to) / "README.md"
    page.write_text(page.read_text() + "\nWe thank our readers.\n")
    return page.parent


def the_run_folder(made: Path, to: Path) -> Path:
    return made / "run"


def through_a_link(made: Path, to: Path) -> Path:
    (to / "link").symlink_to(moved(made, to))
    return to / "link"


@pytest.mark.parametrize(
    "honest",
    [
        moved,
        old_and_read_only,
        without_report_and_exports,
        with_a_note_beside,
        with_words_on_the_card,
        the_run_folder,
        through_a_link,
    ],
)
def test_an_honest_folder_passes(made: Path, tmp_path: Path, honest: Callable[[Path, Path], Path]) -> None:
    folder = honest(made, tmp_path)
    verdict = mc.verify(folder, "infer", data=made / "data", key=keys.fingerprint(keys.own().public))
    assert verdict.holds, verdict


@pytest.mark.parametrize(
    "machine",
    [
        {"OMP_NUM_THREADS": "3"},
        {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
        {"OMP_NUM_THREADS": "2", "LANG": "C", "TZ": "Asia/Shanghai", "HF_HUB_OFFLINE": "1"},
    ],
    ids=["three-threads", "old-processor", "other-place"],
)
def test_an_honest_folder_passes_on_another_machine(tmp_path: Path, machine: dict[str, str]) -> None:
    """Pictures, since convolutions are where kernels differ; made here, checked by a process of another kind."""
    task = fields.find("image-classification")
    tiny = task.tiny(tmp_path / "data")
    sections = {section: dict(values) for section, values in tiny.recipe.items()}
    data = sections.pop("data", {}) | {"source": str(tiny.source), "license": "cc0-1.0"}
    recipe = {"task": task.name, "data": data, "explain": {"examples": 0}, "shrink": {"formats": ["onnx"]}, **sections}
    run(Recipe.model_validate(recipe), tmp_path / "run")
    folder = shutil.move(tmp_path / "run" / "model", tmp_path / "there")
    command = [
        sys.executable,
        "-c",
        "from modelcommons.cli import main; main()",
        "verify",
        str(folder),
        "--level",
        "infer",
        "--data",
        data["source"],
    ]
    done = subprocess.run(command, env={**os.environ, **machine}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "REPRODUCED" in done.stdout
    if "REPRODUCED: " in done.stdout:
        assert re.search(r"within noise; accuracy [\d.]+, stored [\d.]+$", done.stdout, re.MULTILINE)


# --- what cannot be decided, and usage ------------------------------------------------------------------------------


def test_scores_are_checked_without_the_data_and_said_so(made: Path, tmp_path: Path) -> None:
    folder = moved(made, tmp_path)
    verdict = mc.verify(folder)
    assert verdict.holds and "the data are not here" in str(verdict)
    verdict = mc.verify(folder, "infer")
    assert verdict.outcome == "UNDECIDED" and verdict.exit_code == 2 and "--data" in str(verdict)


def test_without_the_package_that_reads_the_data_scores_are_checked_all_the_same(tmp_path: Path) -> None:
    tiny = fields.find("image-classification").tiny(tmp_path / "data")
    sections = {section: dict(values) for section, values in tiny.recipe.items()}
    data = sections.pop("data", {}) | {"source": str(tiny.source), "license": "cc0-1.0"}
    told = {"task": "image-classification", "data": data, "explain": {"examples": 0}, "shrink": {}, **sections}
    run(Recipe.model_validate(told), tmp_path / "run")
    program = (
        "import sys\nsys.modules.update(dict.fromkeys(['PIL', 'torch', 'scipy']))  # an import of None: there is none\n"
        f"import modelcommons as mc\nprint(mc.verify({str(tmp_path / 'run')!r}, sys.argv[1]))"
    )
    at = {
        level: subprocess.run([sys.executable, "-c", program, level], capture_output=True, text=True, timeout=120)
        for level in ("score", "infer")
    }
    assert "the data cannot be read here (The image field needs 'PIL')" in at["score"].stdout, at["score"]
    assert at["score"].stdout.splitlines()[-1].startswith("PASS")
    assert "UNDECIDED  infer" in at["infer"].stdout and "modelcommons[image]" in at["infer"].stdout


def test_other_data_decide_nothing(made: Path, tmp_path: Path) -> None:
    folder = moved(made, tmp_path)
    data = shutil.copytree(made / "data", tmp_path / "data")
    (data / "notes.csv").write_text((data / "notes.csv").read_text() + "one more,star\n")
    verdict = mc.verify(folder, data=data)
    assert verdict.outcome == "UNDECIDED" and "are not those of the receipt" in str(verdict)


def test_a_training_picture_that_was_replaced_is_missed(tmp_path: Path) -> None:
    """The table names it, and is the same."""
    from PIL import Image

    def picture(path: Path, brightness: int) -> None:
        Image.fromarray(np.full((8, 8), brightness, np.uint8)).save(path)

    for part, count in (("train", 8), ("validation", 4), ("test", 4)):
        (tmp_path / "data" / part).mkdir(parents=True)
        for at in range(count):
            picture(tmp_path / "data" / part / f"{at}.png", at % 2 * 200 + at)
        lines = [f'{{"file_name": "{at}.png", "label": "{("dark", "light")[at % 2]}"}}' for at in range(count)]
        (tmp_path / "data" / part / "metadata.jsonl").write_text("\n".join(lines))
    sections = {
        "task": "image-classification", "model": {"new": "linear"}, "explain": {"examples": 0},
        "data": {"source": str(tmp_path / "data"), "license": "cc0-1.0"}, "tune": {"epochs": 1},
    }  # fmt: skip
    run(Recipe.model_validate(sections), tmp_path / "run")
    assert mc.verify(tmp_path / "run", "infer").holds
    picture(tmp_path / "data" / "train" / "3.png", 90)
    assert mc.verify(tmp_path / "run", "score").holds, "which looks at the test only"
    verdict = mc.verify(tmp_path / "run", "infer")
    assert verdict.exit_code == 2 and "training rows at data are not those of the receipt" in str(verdict)


def test_predictions_that_may_not_be_shared_decide_nothing(made: Path, tmp_path: Path) -> None:
    folder = moved(made, tmp_path)
    shutil.rmtree(folder / "predictions")
    assert mc.verify(folder, "files").exit_code == 2
    assert mc.verify(folder, "signature").holds


@pytest.mark.parametrize("gone", ["receipts/model.json", "receipts/seed-1.json", "receipts/onnx/model.json"])
def test_a_receipt_that_was_taken_away_is_missed(made: Path, tmp_path: Path, gone: str) -> None:
    folder = moved(made, tmp_path)
    (folder / gone.replace("seed-1", next((folder / "receipts").glob("seed-*")).stem)).unlink()
    verdict = mc.verify(folder, "files", data=made / "data")
    assert verdict.exit_code == 2 and "is not here" in str(verdict), verdict


def test_a_receipt_that_only_the_card_names_is_missed(made: Path, tmp_path: Path) -> None:
    page = moved(made, tmp_path) / "README.md"
    page.write_text(page.read_text().replace("receipts/model.json", "receipts/better.json").replace(" 0.", " 1."))
    assert "receipts/better.json" in str(mc.verify(page.parent, "signature"))
    assert not mc.verify(page.parent, "signature").holds


def test_a_sample_answers_whole_batches(made: Path) -> None:
    verdict = mc.verify(made / "run", "infer", sample=0.1)
    assert verdict.holds
    assert any("64 of" in check.reason or "the same bytes" in check.reason for check in verdict.checks)


def test_usage(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no level 'score!'"):
        mc.verify(made / "run", "score!")
    with pytest.raises(UsageError, match="sample"):
        mc.verify(made / "run", sample=0)
    folder = moved(made, tmp_path)
    shutil.rmtree(folder / "receipts")
    with pytest.raises(NotFound, match="no receipt"):
        mc.verify(folder)


def test_the_command_tells_by_its_exit_code(made: Path, liar: Liar, capsys: pytest.CaptureFixture[str]) -> None:
    def code(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        return int(str(ended.value.code or 0))

    assert code("verify", str(made / "run"), "--json", "-q") == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "PASS"
    swapped_weights(liar)
    assert code("verify", str(liar.folder), "--level", "files") == 1
    assert "The model is not the one that was signed" in capsys.readouterr().out
    assert code("verify", str(liar.folder), "--sample", "many") == 2


def test_scores_need_no_torch(made: Path) -> None:
    program = (
        "import sys, modelcommons as mc\n"
        f"assert mc.verify({str(made / 'run')!r}, 'score').holds\n"
        "assert not {'torch', 'transformers', 'onnxruntime', 'sklearn'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
