"""energy: counters in a made-up powercap folder and a made-up NVML, the estimate beside them, and what receipts say."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from made_up import evaluation, signed

from modelcommons.formats import keys, receipt
from modelcommons.workbench.engine import energy
from modelcommons.workbench.engine.energy import CORE, JOULES, Energy, Meter
from modelcommons.workbench.stages.evaluate import energy_wh

END = 262_143_328_850  # microjoules after which a package of Intel begins anew


def zone(powercap: Path, at: str, name: str, microjoules: int) -> Path:
    folder = powercap / f"intel-rapl:{at}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{END}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_packages_and_their_memory_are_added_up_and_nothing_twice(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "0", "package-0", 1_000_000), zone(tmp_path, "1", "package-1", 5_000_000)
    memory, cores = zone(tmp_path, "0:1", "dram", 0), zone(tmp_path, "0:0", "core", 0)
    around = zone(tmp_path, "2", "psys", 0)
    with Meter(powercap=tmp_path) as meter:
        for counter, counted in ((first, 1_000_000 + 3_600_000_000), (second, 5_000_000 + 7_200_000_000)):
            counter.write_text(str(counted))
        memory.write_text("1800000000")
        for inside in (cores, around):
            inside.write_text("999999999999")
    drawn = meter.energy()
    assert drawn.wh == pytest.approx(1 + 2 + 0.5) and drawn.method == "RAPL"
    assert [drawn.low, drawn.high] == pytest.approx([0.95 * 3.5, 1.05 * 3.5])


def test_a_counter_that_began_anew_goes_on(tmp_path: Path) -> None:
    counter = zone(tmp_path, "0", "package-0", END - 1_000_000)
    with Meter(powercap=tmp_path) as meter:
        counter.write_text("2000000")
        assert meter.energy().wh == pytest.approx(3 / JOULES)
        counter.write_text("5000000")
    assert meter.energy().wh == pytest.approx(6 / JOULES)


def test_it_is_read_often_enough_to_see_every_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "EVERY_SECONDS", 0.001)
    counter = zone(tmp_path, "0", "package-0", END - 1_000_000)
    with Meter(powercap=tmp_path) as meter:
        for microjoules in (1_000_000, END - 1_000_000):  # once round, unseen at the end alone
            counter.with_suffix(".new").write_text(str(microjoules))
            counter.with_suffix(".new").replace(counter)
            time.sleep(0.05)
    assert meter.energy().wh == pytest.approx((END / 1e6) / JOULES)


@pytest.mark.parametrize("content", ["", "no number\n", None])
def test_where_a_counter_cannot_be_read_the_energy_is_estimated(tmp_path: Path, content: str | None) -> None:
    zone(tmp_path, "0", "package-0", 7)
    counter = zone(tmp_path, "1", "package-1", 7)
    if content is None:  # as for anybody but root, whom permissions do not stop
        counter.unlink()
    else:
        counter.write_text(content)
    with Meter(powercap=tmp_path) as meter:
        begun = time.process_time()
        while time.process_time() - begun < 0.03:
            pass
    drawn = meter.energy()
    assert drawn.method == "estimated from CPU seconds"
    low, middle, high = CORE
    assert drawn.wh > 0.01 * middle / JOULES
    assert [drawn.low / drawn.wh, drawn.high / drawn.wh] == pytest.approx([low / middle, high / middle])


def test_what_a_killed_process_drew_counts(tmp_path: Path) -> None:
    counter, kept = zone(tmp_path / "powercap", "0", "package-0", 0), tmp_path / "energy.json"
    for _ in range(2):
        with Meter(kept, tmp_path / "powercap"):
            counter.write_text(str(int(counter.read_text()) + 3_600_000_000))
    with Meter(kept, tmp_path / "powercap") as meter:
        assert meter.energy().wh == pytest.approx(2)
    with Meter(kept, tmp_path / "none") as other:  # counted in another way: the two are not added up
        assert other.energy().wh < 0.1
    kept.write_text("{")
    with Meter(kept, tmp_path / "powercap") as damaged:
        assert damaged.energy().wh == 0


class Refused(Exception):
    """As NVML says that a GPU has no counter."""


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Millijoules that the GPUs of this machine have counted; a negative number stands for none."""
    import torch

    counted = [1_000_000, 2_000_000]

    def total(handle: str) -> int:
        if counted[int(handle[-1])] < 0:
            raise Refused
        return counted[int(handle[-1])]

    nvml: Any = ModuleType("pynvml")
    nvml.nvmlInit, nvml.NVMLError = lambda: None, Refused
    nvml.nvmlDeviceGetHandleByUUID = lambda uuid: {"GPU-a0": "a0", "GPU-b1": "b1"}[uuid]
    nvml.nvmlDeviceGetTotalEnergyConsumption = total
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(energy, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    uuids = lambda at: SimpleNamespace(uuid=("a0", "b1")[at])  # noqa: E731
    monkeypatch.setattr(torch.cuda, "get_device_properties", uuids)
    return counted


def test_gpus_are_added_up_with_the_processor(tmp_path: Path, gpus: list[int]) -> None:
    counter = zone(tmp_path, "0", "package-0", 0)
    with Meter(powercap=tmp_path) as meter:
        gpus[:] = 4_600_000, 9_200_000
        counter.write_text("3600000000")
    assert meter.energy().wh == pytest.approx(1 + 2 + 1) and meter.method == "RAPL + NVML"


def test_a_gpu_without_a_counter_is_said_to_be_left_out(tmp_path: Path, gpus: list[int]) -> None:
    gpus[1] = -1
    zone(tmp_path, "0", "package-0", 0)
    with Meter(powercap=tmp_path) as meter:
        assert meter.energy().wh == 0
    assert meter.method == "RAPL + GPU left out"


# --- receipts -------------------------------------------------------------------------------------------------------


def test_a_receipt_carries_energy_as_decimals_with_its_band() -> None:
    said = energy_wh(Energy(0.41257, 0.2, 1.0, "RAPL"))
    assert said.model_dump() == {"value": "0.413", "band": "0.2 to 1", "method": "RAPL"}


STRANGE: list[dict[str, Any]] = [{}, {"energyWh": "much"}, {"energyWh": {"value": "1e3", "band": "", "method": ""}}]


@pytest.mark.parametrize("cost", STRANGE)
def test_a_receipt_without_energy_or_with_a_strange_one_is_read_all_the_same(tmp_path: Path, cost: Any) -> None:
    key = keys.own(tmp_path / "key")
    statement = receipt.parse(signed(evaluation("model"), key)).statement
    predicate = statement.predicate.model_copy(update={"cost": cost})
    found = receipt.parse(receipt.sign(statement.model_copy(update={"predicate": predicate}), key))
    assert found.energy() is None and found.energy("trainingEnergyWh") is None
