"""measure: what the programs here have in common: they run recipes, and print machine, command, scores and minutes."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# two threads that spin while they wait lose ten times their speed as soon as a third process wants a core
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import modelcommons as mc
from modelcommons.workbench import protocols
from modelcommons.workbench.recipe import load
from modelcommons.workbench.run import Run, run

RECIPES = Path(__file__).parents[2] / "recipes"


@dataclass(frozen=True)
class Measured:
    """One run of a recipe, and how long it took from data to signed model folder."""

    run: Run
    minutes: float

    @property
    def value(self) -> float:
        """Main metric on the test rows."""
        return self.run.scored.main.scores[0].value


class Lines:
    """Prints what each stage says."""

    def line(self, stage: str, text: str) -> None:
        print(f"    {stage:10}{text}", flush=True)

    def step(self, stage: str, done: float, total: float, text: str = "") -> None:
        pass


def heading() -> None:
    """Version, machine, date and the command as it was given."""
    print(f"modelcommons {mc.__version__} · {machine()} · {datetime.date.today()}")
    print(f"$ {shlex.join(['python', f'benchmarks/{Path(sys.argv[0]).name}', *sys.argv[1:]])}\n", flush=True)


def machine() -> str:
    """Processor, cores, threads, Python and torch."""
    import torch

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())
    return (
        f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads · "
        f"Python {platform.python_version()} · torch {torch.__version__}"
    )


def peak_mib() -> int:
    """The most memory that this process had; what its parent had before it began does not count, as in `ru_maxrss`."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def measured(recipe: str, folder: Path, *overrides: str) -> Measured:
    """Runs `recipes/<recipe>.yaml` from nothing; what an earlier run left would make the minutes untrue."""
    if folder.exists():
        sys.exit(f"{folder} is there already: remove it, or name another with --out.")
    begun = time.monotonic()
    done = run(load(RECIPES / f"{recipe}.yaml", overrides), folder, Lines())
    return Measured(done, (time.monotonic() - begun) / 60)


def report(seed: int, one: Measured) -> None:
    """One seed's row."""
    main, tuned = one.run.scored.main, one.run.tuned
    fit, times = tuned.trained[tuned.chosen].fit, f"{len(tuned.trained)} times " if tuned.together else ""
    score, floor = main.scores[0], main.baseline[0]
    print(
        f"seed {seed}: test {score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] of {score.den:,} · "
        f"{main.baseline_name} {floor.value:.4f} · validation {fit.value:.4f} · {times}{fit.parameters:,} parameters · "
        f"{fit.epochs:.2g} epochs, {fit.rows_per_second:,.0f} rows/s, {fit.settings['precision']} · "
        f"{one.minutes:.1f} min from data to signed model folder\n",
        flush=True,
    )


def mean(values: Sequence[float], name: str) -> str:
    """`mean of 3 seeds: accuracy 0.9213, standard deviation 0.0011`."""
    spread = f", standard deviation {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"mean of {len(values)} seeds: {name} {statistics.mean(values):.4f}{spread}"


def published(protocol: str) -> None:
    """The figures of others, as the protocol has them."""
    for figure in protocols.find(protocol).published:
        print(f"    published: {figure}")
    print(flush=True)
