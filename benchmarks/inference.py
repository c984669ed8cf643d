"""Answers of shrunk models, a MiniLM and a small convolutional network, beside what others would run instead.

python benchmarks/inference.py
python benchmarks/inference.py --accuracy

The models are those that `python benchmarks/text_classification.py --sets banking77` and `python
benchmarks/fashion_mnist.py --seeds 0` leave (one that was trained for less, in a folder of that name below --runs, is
as fast); their exports are made anew. Latency of one row at a time and rows per second of 32 at once, on real test
rows, everybody in turns, a first turn not counted; then the seconds from the start of a process to its first answer.
--accuracy answers all test rows with the model and its exports instead.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import heading
from PIL import Image

import modelcommons as mc
from modelcommons.workbench import sources
from modelcommons.workbench.engine.adapters import quiet
from modelcommons.workbench.engine.statistics import paired
from modelcommons.workbench.serve import Served
from modelcommons.workbench.stages.shrink import PATHS, write_exports
from modelcommons.workbench.task import Line, Parts, Split

SETS = {"banking77": "banking77", "fashion_mnist": "fashion-mnist"}  # and what their runs are called
Answer = Callable[[list[Any]], Any]

SINGLE, MANY, BATCHES = 24, 32, 3  # of a turn: inputs asked one by one, inputs asked at once, how often
EAGER = "eager torch"
ONNX, INT8 = PATHS["onnx"], PATHS["int8"]

# a process of its own: `folder` is the model's, `asked` a text or the path of a picture; it prints its first answer
OUR_STARTS = {
    "ours, int8": f"import modelcommons as mc; print(mc.load(folder, {INT8!r}).predict(asked))",
    "ours, torch": "import modelcommons as mc; print(mc.load(folder).predict(asked))",
}
TEXT_STARTS = OUR_STARTS | {
    "onnxruntime and AutoTokenizer, int8": "import onnxruntime, transformers; "
    f"session = onnxruntime.InferenceSession(folder + '/{INT8}'); "
    "made = transformers.AutoTokenizer.from_pretrained(folder)([asked], return_tensors='np'); "
    "print(session.run(None, {name: made[name] for name in ('input_ids', 'attention_mask')})[0].argmax())",
    "transformers.pipeline": "import transformers; print(transformers.pipeline('text-classification', folder)(asked))",
    EAGER: "import torch, transformers; tokenizer = transformers.AutoTokenizer.from_pretrained(folder); "
    "model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()\n"
    "with torch.inference_mode(): print(model(**tokenizer(asked, return_tensors='pt')).logits.argmax())",
}
PICTURE_STARTS = OUR_STARTS | {
    "onnxruntime and Pillow, int8": "import json, numpy, onnxruntime; from PIL import Image; "
    f"session = onnxruntime.InferenceSession(folder + '/{INT8}'); "
    "made = json.load(open(folder + '/config.json'))['preprocess']; pixels = numpy.asarray(Image.open(asked)) / 255; "
    "inputs = ((pixels - made['mean'][0]) / made['std'][0]).astype('float32')[None, None]; "
    "print(session.run(None, {'pixel_values': inputs})[0].argmax())",
}


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data"))
    wanted.add_argument("--sets", nargs="+", choices=SETS, default=tuple(SETS))
    wanted.add_argument("--runs", type=Path, default=Path("runs/benchmarks"))
    wanted.add_argument("--rounds", type=int, default=7)
    wanted.add_argument("--starts", type=int, default=3)
    wanted.add_argument("--accuracy", action="store_true")
    given = wanted.parse_args()
    heading()
    for name in given.sets:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary, "model")
            shutil.copytree(given.runs / f"{SETS[name]}-seed-0/model", folder)
            compare(name, given.data / name, folder, given)


def compare(name: str, source: Path, folder: Path, given: argparse.Namespace) -> None:
    """Args: folder: the model's, in which new exports are made."""
    served = mc.load(folder)
    parts = parts_of(served, source)
    task: Any = served.task
    write_exports(task, folder, parts.train, ("onnx", "int8"))
    sizes = {"model": "model.safetensors", "onnx": ONNX, "int8": INT8}
    told = [f"{kind} {(folder / path).stat().st_size / 1e6:.3g} MB" for kind, path in sizes.items()]
    print(f"{name}: {' · '.join(told)}", flush=True)
    if given.accuracy:
        compare_answers(served, parts)
        return
    rows = np.random.default_rng(0).permutation(len(parts.test))[: SINGLE + MANY * BATCHES]
    inputs = [parts.test[row].x for row in rows.tolist()]
    if isinstance(inputs[0], str):
        compare_speed(text_contenders(folder), inputs, given.rounds)
        compare_starts(TEXT_STARTS, folder, inputs[0], given.starts)
    else:
        compare_speed(picture_contenders(folder), inputs, given.rounds)
        Image.fromarray(inputs[0].squeeze()).save(folder / "asked.png")
        compare_starts(PICTURE_STARTS, folder, str(folder / "asked.png"), given.starts)


def parts_of(served: Served, source: Path) -> Parts:
    """The rows by the folder's own options."""
    return served.task.split(served.task.rows(sources.find(str(source)), {}, served.options), Split(), served.options)


def text_contenders(folder: Path) -> dict[str, Answer]:
    """Everybody by name; each takes a list of texts and answers with labels."""
    import onnxruntime
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    with quiet():
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        tokenizer, piped = AutoTokenizer.from_pretrained(folder), pipeline("text-classification", str(folder))

    def eager(texts: list[str]) -> Any:
        with torch.inference_mode():
            return model(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits.argmax(1)

    def plain(variant: str) -> Answer:
        session = onnxruntime.InferenceSession(str(folder / variant))

        def answer(texts: list[str]) -> Any:
            made = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
            inputs = {name: made[name] for name in ("input_ids", "attention_mask")}
            return session.run(None, inputs)[0].argmax(1)

        return answer

    return {
        EAGER: eager,
        "transformers.pipeline": lambda texts: piped(texts, batch_size=MANY),
        "onnxruntime, fp32": plain(ONNX),
        "onnxruntime, int8": plain(INT8),
        **ours(folder),
    }


def picture_contenders(folder: Path) -> dict[str, Answer]:
    """Everybody by name; each takes a list of pictures, uint8 (height, width, channels), and answers with labels."""
    import onnxruntime
    import torch

    from modelcommons.workbench.fields.image.classifier import load

    model = load(folder)
    network: Any = model.network
    network.to(memory_format=torch.contiguous_format)  # as torch makes a network, and its inputs, by itself

    def inputs_of(pictures: list[np.ndarray]) -> np.ndarray:
        return np.ascontiguousarray(model.inputs(np.stack(pictures)))

    def eager(pictures: list[np.ndarray]) -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(inputs_of(pictures))).argmax(1)

    def plain(variant: str) -> Answer:
        session = onnxruntime.InferenceSession(str(folder / variant))
        return lambda pictures: session.run(None, {"pixel_values": inputs_of(pictures)})[0].argmax(1)

    return {EAGER: eager, "onnxruntime, fp32": plain(ONNX), "onnxruntime, int8": plain(INT8), **ours(folder)}


def ours(folder: Path) -> dict[str, Answer]:
    return {
        "ours, torch": mc.load(folder).predict,
        "ours, onnx": mc.load(folder, ONNX).predict,
        "ours, int8": mc.load(folder, INT8).predict,
    }


def compare_speed(contenders: dict[str, Answer], inputs: Sequence[Any], rounds: int) -> None:
    single, rest = inputs[:SINGLE], inputs[SINGLE:]
    many = [list(rest[at : at + MANY]) for at in range(0, len(rest), MANY)]
    latencies: dict[str, list[list[float]]] = {name: [] for name in contenders}  # milliseconds, by turn
    rates: dict[str, list[float]] = {name: [] for name in contenders}  # rows per second
    for counted in range(-1, rounds):
        for name, answer in contenders.items():
            singly = [seconds(answer, [one]) * 1e3 for one in single]
            rate = len(rest) / sum(seconds(answer, some) for some in many)
            if counted >= 0:
                latencies[name].append(singly)
                rates[name].append(rate)
    for name in contenders:
        flat = np.concatenate(latencies[name])
        quicker = ratios([statistics.median(turn) for turn in latencies[name]],
                         [statistics.median(turn) for turn in latencies[EAGER]], inverse=True)  # fmt: skip
        print(
            f"    {name}: one at a time {np.median(flat):.2f} ms, p95 {np.quantile(flat, 0.95):.2f} ms, {quicker} · "
            f"{MANY} at once {statistics.median(rates[name]):,.0f} rows/s, {ratios(rates[name], rates[EAGER])}"
        )
    told = f"{rounds} turns of {SINGLE} single inputs and {len(many)} times {MANY}"
    print(f"    n = {told}; times as fast as {EAGER}\n", flush=True)


def seconds(answer: Answer, inputs: list[Any]) -> float:
    begun = time.perf_counter()
    answer(inputs)
    return time.perf_counter() - begun


def ratios(mine: Sequence[float], theirs: Sequence[float], inverse: bool = False) -> str:
    """`2.93 (2.71 to 3.05)`: how many times as fast, turn by turn."""
    found = [b / a if inverse else a / b for a, b in zip(mine, theirs, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f}) times as fast"


def compare_starts(starts: dict[str, str], folder: Path, asked: str, rounds: int) -> None:
    """From the start of a process to its end, which comes after its first answer; files are in memory."""
    taken: dict[str, list[float]] = {name: [] for name in starts}
    for counted in range(-1, rounds):
        for name, code in starts.items():
            program = f"import sys; folder, asked = sys.argv[1:]\n{code}"
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", program, str(folder), asked], check=True, capture_output=True)
            if counted >= 0:
                taken[name].append(time.perf_counter() - begun)
    for name, found in taken.items():
        print(
            f"    {name}: {statistics.median(found):.2f} s from start to first answer "
            f"({min(found):.2f} to {max(found):.2f}, n = {rounds})"
        )
    print(flush=True)


def compare_answers(served: Served, parts: Parts) -> None:
    """Model and exports on all test rows, each export paired with the model row by row."""
    rows = [parts.test[index] for index in range(len(parts.test))]
    lines: dict[str, list[Line]] = {}
    for name, variant in (("model", ""), ("onnx", ONNX), ("int8", INT8)):
        answers = served.task.load(served.folder, variant).predict(rows)
        lines[name] = [{"id": row.id, "target": row.y, **answer} for row, answer in zip(rows, answers, strict=True)]
        score = served.task.scores(lines[name])[0]
        text = f"    {name}: {score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] of {score.den:,}"
        if name != "model":
            p_value = paired(served.task.losses(lines["model"]), served.task.losses(lines[name]), 0)
            changed = sum(map(served.task.changed, lines["model"], lines[name]))
            text += f" · {changed} answers changed · same as the model? p = {p_value:.2g}"
        print(text, flush=True)
    print(flush=True)


if __name__ == "__main__":
    main()
