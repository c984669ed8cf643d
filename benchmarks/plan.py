"""What `commons plan` says that a run takes, and what the run then takes, in fresh processes, one after the other.

python benchmarks/plan.py [--data DIR] [--rounds N] [recipe ...]

Seconds of the run are those that a person waits: from starting Python to the signed model folder. A plan is as good as
its ratio to the run is near to 1; what else the machine does moves both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import RECIPES, heading

BAND = 0.25  # of the run's seconds by which a plan may be off
WANTED = 0.9  # share of recipes
SHARED = "../../shared/data"  # where recipes have their data
OVERRIDES: dict[str, tuple[str, ...]] = {  # by recipe; fewer passes where the whole takes minutes
    "digits": ("tune.epochs=6",),
    "wine": (),
    "breast-cancer": (),
    "diabetes": (),
    "python-docs": ("tune.epochs=4",),
    "sms-spam": ("tune.epochs=2",),
    "sunspots": (),
    "co2": ("tune.budget.minutes=0.2",),
    "movietweetings": (),
    "fsdd": ("tune.epochs=3",),
    "cifar10": ("tune.epochs=2",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", help=f"of {', '.join(OVERRIDES)}; all when not given")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    heading()
    planned("wine", asked.data)  # the first time, libraries are read from disk
    print("recipe          plan     run    plan/run  of the run: overrides", flush=True)
    within, tried = 0, 0
    for name in asked.recipes or OVERRIDES:
        for _ in range(asked.rounds):
            told, taken = planned(name, asked.data), ran(name, asked.data)
            ratio = told / taken
            tried, within = tried + 1, within + (abs(ratio - 1) <= BAND)
            said = " ".join(OVERRIDES[name]) or "as it is"
            print(f"{name:<14}{told:5.1f} s {taken:5.1f} s   {ratio:8.2f}  {said}", flush=True)
    holds = "it holds" if within >= WANTED * tried else "it does not hold"
    print(f"\n{within} of {tried} within {BAND:.0%}; expected: at least {WANTED:.0%} of them; {holds}")


def planned(name: str, data: Path) -> float:
    """Seconds of the whole run, as the plan has them."""
    said = subprocess.run(
        [*command("plan", name, data), "--json", "--quiet"], stdout=subprocess.PIPE, check=True, env=environ()
    )
    return float(json.loads(said.stdout)["seconds"])


def ran(name: str, data: Path) -> float:
    """Seconds of the run, in an empty folder."""
    with tempfile.TemporaryDirectory(prefix="commons-bench-") as folder:
        begun = time.monotonic()
        whole = [*command("run", name, data), "--folder", str(Path(folder) / "run"), "--quiet"]
        subprocess.run(whole, stdout=subprocess.DEVNULL, check=True, env=environ())
        return time.monotonic() - begun


def command(verb: str, name: str, data: Path) -> list[str]:
    recipe = RECIPES / f"{name}.yaml"
    source = next(line.split()[1] for line in recipe.read_text("utf-8").splitlines() if line.startswith("  source:"))
    moved = [f"data.source={data.absolute() / Path(source).name}"] if source.startswith(SHARED) else []
    return [sys.executable, "-m", "modelcommons.cli", verb, str(recipe), *moved, *OVERRIDES[name]]


def environ() -> dict[str, str]:
    return os.environ | {"OMP_WAIT_POLICY": "passive"}


if __name__ == "__main__":
    main()
