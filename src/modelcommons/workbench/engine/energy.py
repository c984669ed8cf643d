"""energy: what a piece of work drew, read from the counters of processor and GPU where they can be, else estimated.

Sources: RAPL through Linux' powercap (docs.kernel.org/power/powercap) and NVML (nvmlDeviceGetTotalEnergyConsumption).
A reading is taken to be within 5 % (NVML's manual, of its power readings; Khan et al. 2018, "RAPL in Action"). Where
nothing can be read, a core that works is taken to draw between 1.87 W (Cloud Carbon Footprint, a thread of a third
generation AMD EPYC at full load) and 12 W (Green Algorithms, any processor; Lannelongue et al. 2021), and the geometric
mean of both is told. Discs, fans, what a power supply loses and the carbon of the grid are in none of these.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

POWERCAP = Path("/sys/class/powercap")
READ = (0.95, 1.0, 1.05)  # joules that a counted joule is: low, middle, high
MILLI = (0.95e-3, 1e-3, 1.05e-3)  # and a counted millijoule
CORE = (1.87, math.sqrt(1.87 * 12.0), 12.0)  # watts
EVERY_SECONDS = 30.0  # between readings: under load, a counter of RAPL begins anew after some minutes
JOULES = 3600.0  # of a watt-hour


@dataclass(frozen=True, slots=True)
class Energy:
    """Electricity in watt-hours, the band in which it lies, and how it was found."""

    wh: float
    low: float
    high: float
    method: str  # `RAPL`, `RAPL + NVML`, `estimated from CPU seconds`, ...


@dataclass(frozen=True, slots=True)
class Counter:
    """Something that grows with the work done."""

    read: Callable[[], float]
    joules: tuple[float, float, float]  # of one of its units: low, middle, high
    end: float = math.inf  # after this it begins at 0 again


class Meter:
    """Counts from where it is entered to where it is left, and may be read in between.

    RAPL counts all that ran on the machine meanwhile, NVML all on the GPUs in use, an estimate this process and those
    that it started; where several machines train together, it is of the first.

    Args:
        kept: a file with what was drawn so far. After a kill counting goes on from it: work that was lost drew as well.
        powercap: where Linux has its counters.
    """

    def __init__(self, kept: Path | None = None, powercap: Path = POWERCAP) -> None:
        packages, gpus = list(_rapl(powercap)), list(_nvml())
        said = ["RAPL" if packages else "estimated from CPU seconds"]
        said += ["NVML"] if gpus else ["GPU left out"] if _on_gpu() else []
        self.method = " + ".join(said)
        self._counters = [*(packages or [Counter(_cpu_seconds, CORE)]), *gpus]
        self._kept = kept
        self._joules, self._last = [0.0, 0.0, 0.0], [0.0 for _ in self._counters]
        self._lock, self._left = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="energy", daemon=True)

    def __enter__(self) -> Meter:
        self._joules = self._before()
        self._last = [counter.read() for counter in self._counters]
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._left.set()
        self._thread.join()
        self._count()

    def energy(self) -> Energy:
        """What was drawn so far."""
        self._count()
        low, middle, high = (joules / JOULES for joules in self._joules)
        return Energy(middle, low, high, self.method)

    def _watch(self) -> None:
        while not self._left.wait(EVERY_SECONDS):
            self._count()

    def _count(self) -> None:
        """Adds what the counters counted since they were last read."""
        with self._lock:
            now = [counter.read() for counter in self._counters]
            for counter, before, after in zip(self._counters, self._last, now, strict=True):
                counted = after - before if after >= before else after - before + counter.end
                self._joules = [sum_ + counted * each for sum_, each in zip(self._joules, counter.joules, strict=True)]
            self._last = now
            if self._kept:
                part = self._kept.with_name(f".{self._kept.name}.part")
                part.write_text(json.dumps({"method": self.method, "joules": self._joules}), encoding="utf-8")
                part.replace(self._kept)

    def _before(self) -> list[float]:
        """What an earlier process had drawn, if it counted in the same way."""
        try:
            said = json.loads(self._kept.read_text(encoding="utf-8")) if self._kept else {}
        except (OSError, ValueError):
            said = {}
        return [float(each) for each in said["joules"]] if said.get("method") == self.method else [0.0, 0.0, 0.0]


def _cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    taken = os.times()
    return taken.user + taken.system + taken.children_user + taken.children_system


def _rapl(powercap: Path) -> Iterator[Counter]:
    """A counter of each package and of each DRAM beside it, in joules; none where one of them may not be read.

    Zones of cores lie inside their package, `psys` around it, and intel-rapl-mmio counts the same once more.
    """
    found = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        try:
            name = (zone / "name").read_text().strip()
            if name.startswith("package") or name == "dram":
                counter = Counter(partial(_joules, zone / "energy_uj"), READ, _joules(zone / "max_energy_range_uj"))
                counter.read()
                found.append(counter)
        except (OSError, ValueError):  # mostly root's only (CVE-2020-8694)
            return
    yield from found


def _joules(path: Path) -> float:
    """Of a file of microjoules."""
    return int(path.read_text()) / 1e6


def _on_gpu() -> bool:
    """Whether torch has a GPU."""
    if find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _nvml() -> Iterator[Counter]:
    """A counter of each GPU that torch sees, in millijoules; none where one has none (before Volta, parts by MIG)."""
    if not _on_gpu() or find_spec("pynvml") is None:
        return
    import pynvml
    import torch

    try:
        pynvml.nvmlInit()
        uuids = [torch.cuda.get_device_properties(at).uuid for at in range(torch.cuda.device_count())]
        gpus = [pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}") for uuid in uuids]
        found = [Counter(partial(pynvml.nvmlDeviceGetTotalEnergyConsumption, gpu), MILLI) for gpu in gpus]
        for counter in found:
            counter.read()
    except pynvml.NVMLError:
        return
    yield from found
