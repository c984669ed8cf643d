"""how time and memory grow with rows, classes, length of texts, number and length of series, and size of a catalogue.

    python benchmarks/growth.py                                     (table, and results/growth.svg)
    python benchmarks/growth.py --kinds rows --seconds 300          (the plot keeps the other kinds)

Each size is a whole run of a recipe and `verify --level score` in a process of its own; a training is a few steps.
Seconds are those of the processor, so that others on the machine count little. The exponent is the slope between the
two largest sizes once what the smallest took is taken away. No size is tried after one that took longer than --seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import heading, peak_mib
from measure.peers import ours

PLOT = Path(__file__).parent / "results" / "growth.svg"
LEAST = 1.0  # seconds over those of the smallest size from which a slope says something
NOTED = 1.2  # exponents beyond are marked
STAGES = ("get", "prepare", "tune", "evaluate", "publish", "verify")
Taken = dict[str, dict[str, float]]  # by size: seconds of each stage and MiB
WORDS = np.array([f"{a}{b}{c}" for a in "bdfglmnprst" for b in "aeiou" for c in "klmnrst"])


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--kinds", nargs="+", choices=KINDS, default=tuple(KINDS))
    wanted.add_argument("--seconds", type=float, default=120.0, help="of a size after which no larger one is tried")
    wanted.add_argument("--plot", type=Path, default=PLOT)
    wanted.add_argument("--run", nargs=3, metavar=("KIND", "SIZE", "FOLDER"), help="one size: one line of JSON")
    given = wanted.parse_args()
    if given.run:
        return run_one(given.run[0], int(given.run[1]), Path(given.run[2]))
    heading()
    kept = given.plot.with_suffix(".json")
    found: dict[str, Taken] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for kind in given.kinds:
        found[kind] = {str(size): values for size, values in measured_kind(kind, given.seconds).items()}
        kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    plot({kind: found[kind] for kind in KINDS if kind in found}, given.plot)


def measured_kind(kind: str, seconds: float) -> dict[int, dict[str, float]]:
    """By size: processor seconds of each stage, of all, and MiB at most; printed as a table, with exponents."""
    taken: dict[int, dict[str, float]] = {}
    about, columns = KINDS[kind], (*STAGES, "all", "MiB")
    print(f"{f'{kind} {about.words}':<34}" + "".join(f"{name:>10}" for name in columns), flush=True)
    for size in about.sizes:
        with tempfile.TemporaryDirectory() as name:
            taken[size] = ours("growth", "--run", kind, str(size), name)
        print(f"{size:>34,}" + "".join(f"{taken[size][name]:>10,.1f}" for name in columns), flush=True)
        if taken[size]["all"] > seconds:
            break
    slopes = [exponent({size: values[name] for size, values in taken.items()}) for name in columns]
    shown = ["-" if slope is None else f"{slope:.2f}{'!' if slope > NOTED else ''}" for slope in slopes]
    print(f"{'exponent':>34}" + "".join(f"{slope:>10}" for slope in shown))
    left = about.sizes[len(taken) :]
    print(f"stopped before {left[0]:,}\n" if left else "", flush=True)
    return taken


def exponent(values: dict[int, float]) -> float | None:
    """Slope on a double logarithmic scale between the two largest sizes, without the value of the smallest."""
    (_, least), *rest = sorted(values.items())
    grown = [(size, value - least) for size, value in rest if value - least > LEAST]
    if len(grown) < 2:
        return None
    (a, small), (b, large) = grown[-2:]
    return math.log(large / small) / math.log(b / a)


def plot(found: dict[str, Taken], path: Path) -> None:
    """Seconds and memory of each kind, over sizes relative to the smallest; a grey line grows in proportion."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for axis, name, words in zip(axes, ("all", "MiB"), ("processor seconds", "MiB at most"), strict=True):
        for kind, taken in found.items():
            sizes = np.array(list(map(int, taken)))
            axis.plot(sizes / sizes[0], [each[name] for each in taken.values()], "o-", label=kind)
        axis.set(xscale="log", yscale="log", xlabel="size, beside the smallest", ylabel=words)
        low, high = axis.get_ylim()
        axis.plot([1, high / low], [low, high], color="0.8", zorder=0)
    axes[0].legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    print(f"plot: {path.name}")


# --- one size -------------------------------------------------------------------------------------------------------


class Clock:
    """Processor seconds of each stage, as stages say that they are done."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}
        self._last = time.process_time()

    def line(self, stage: str, text: str) -> None:
        now = time.process_time()
        self.taken[stage] = self.taken.get(stage, 0.0) + now - self._last
        self._last = now

    def step(self, stage: str, done: float, total: float, text: str = "") -> None:
        pass


def run_one(kind: str, size: int, folder: Path) -> None:
    """Writes the data, runs the recipe, verifies; prints seconds and memory."""
    os.environ.setdefault("MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib"))  # its list of fonts is made once
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    data = folder / "data"
    data.mkdir()
    sections = KINDS[kind].write(data, size)
    from modelcommons.workbench.recipe import Recipe
    from modelcommons.workbench.run import run
    from modelcommons.workbench.verify import verify

    sections["data"] = {"source": str(data), "license": "cc0-1.0", **sections.get("data", {})}
    recipe = Recipe.model_validate({"name": "growth", **sections, "explain": {"examples": 0}})
    clock = Clock()
    run(recipe, folder / "run", clock)
    clock.line("publish", "")
    verdict = verify(folder / "run", "score")
    assert verdict.holds, str(verdict)
    clock.line("verify", "")
    taken = {stage: clock.taken.get(stage, 0.0) for stage in STAGES}
    print(json.dumps({**taken, "all": sum(clock.taken.values()), "MiB": peak_mib()}))


def _texts(folder: Path, rows: int, classes: int, words: int) -> dict[str, Any]:
    """Rows of words at random, each with its class as one of them."""
    rng = np.random.default_rng(0)
    with (folder / "texts.csv").open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for start in range(0, rows, 10_000):
            some = min(10_000, rows - start)
            which = WORDS[rng.integers(0, len(WORDS), (some, words))]
            label = np.where(np.arange(start, start + some) < classes, np.arange(start, start + some), 0)
            label = np.where(label, label, rng.integers(0, classes, some))
            file.writelines(
                f"{' '.join(row)} c{at},c{at}\n" for row, at in zip(which.tolist(), label.tolist(), strict=True)
            )
    return {"task": "text-classification", "model": {"new": "bag"}, "tune": {"epochs": 1e-9, "batch_size": 32}}


def _series(folder: Path, count: int, length: int) -> dict[str, Any]:
    """Waves of a day with noise, one file each would be slow to write: one table with a column of ids."""
    rng, hours = np.random.default_rng(0), np.datetime64("2020-01-01T00:00") + np.arange(length).astype("m8[h]")
    moments = np.datetime_as_string(hours, "s").tolist()
    with (folder / "series.csv").open("w", encoding="utf-8") as file:
        file.write("series,time,value\n")
        for name in range(count):
            values = np.sin(np.arange(length) * math.tau / 24) + 0.3 * rng.standard_normal(length)
            file.writelines(f"s{name},{at},{v:.4f}\n" for at, v in zip(moments, values.tolist(), strict=True))
    options = {"horizon": 24, "season": 24, "stride": 24}
    return {
        "task": "time-series-forecasting", "model": {"new": "linear", "options": {"lookback": 48}},
        "data": {"options": options, "columns": {"series": "series"} if count > 1 else {}},
    }  # fmt: skip


def _events(folder: Path, users: int, items: int) -> dict[str, Any]:
    """Ten choices of each user; items are chosen as words are."""
    rng, share = np.random.default_rng(0), np.cumsum(np.arange(1, items + 1) ** -0.8)
    with (folder / "events.csv").open("w", encoding="utf-8") as file:
        file.write("user,item,time\n")
        for user in range(users):
            chosen = np.unique(np.searchsorted(share, rng.random(10) * share[-1])).tolist()
            file.writelines(f"u{user},i{item},{1_600_000_000 + 86_400 * at}\n" for at, item in enumerate(chosen))
        file.writelines(f"all,i{item},1600000000\n" for item in range(items))  # a catalogue is what was chosen once
    options = {"factors": 16, "unobserved": 0.1, "regularization": 0.01, "trend": 0}
    return {"task": "recommendation", "model": {"new": "ials", "options": options}}


class Kind:
    """What grows: sizes, and how to write data of one size, which gives the recipe's sections."""

    def __init__(self, words: str, sizes: tuple[int, ...], write: Callable[[Path, int], dict[str, Any]]) -> None:
        self.words, self.sizes, self.write = words, sizes, write


KINDS = {
    "rows": Kind("texts of 8 words", (10**3, 10**4, 10**5, 10**6, 10**7), lambda to, n: _texts(to, n, 4, 8)),
    "classes": Kind("of 20,000 texts", (10, 100, 1_000, 5_000), lambda to, n: _texts(to, 20_000, n, 8)),
    "words": Kind("in each of 500 texts", (10, 100, 1_000, 10_000), lambda to, n: _texts(to, 500, 4, n)),
    "series": Kind("of 480 hours", (1, 10, 100, 1_000), lambda to, n: _series(to, n, 480)),
    "steps": Kind("of one series", (10**3, 10**4, 10**5, 10**6), lambda to, n: _series(to, 1, n)),
    "items": Kind("to 2,000 users", (10**3, 10**4, 10**5, 10**6), lambda to, n: _events(to, 2_000, n)),
}


if __name__ == "__main__":
    main()
