"""work in several processes at once: what they come to, how they fail, and that none outlives who began it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from modelcommons.errors import CommonsError, DataError, MissingPackage, Stopped, UsageError
from modelcommons.workbench import fields
from modelcommons.workbench.engine import fan_out, ranks
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.stages.get import get
from modelcommons.workbench.stages.prepare import prepare
from modelcommons.workbench.stages.tune import tune

SOURCE = Path(fan_out.__file__).parents[3]
PATIENCE_S = 60
# a piece of work that needs no torch
PIECE = """
import os, sys, time
from pathlib import Path
from modelcommons.errors import DataError
from modelcommons.workbench.engine import fan_out

def ends(told):
    while "after" in told and not Path(told["after"]).is_file():
        time.sleep(0.01)
    Path(told["name"]).write_text(os.environ["OMP_NUM_THREADS"])
    match told["do"]:
        case "fail":
            raise DataError("Expected a cat, got a dog.")
        case "die":
            os._exit(9)
        case "wait":
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                Path(told["name"]).write_text("saved")
                raise

with fan_out.order() as told:
    print("a library says something")
    ends(told)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the piece, and with a module of a stranger that must not be loaded."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "piece.py").write_text(PIECE)
    (tmp_path / "random.py").write_text("raise SystemExit('a stranger ran')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'modules'}:{SOURCE}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path: Path) -> str:
    end = time.monotonic() + PATIENCE_S
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < end, f"{path} never comes"
        time.sleep(0.01)
    return path.read_text()


def one_fails(place: Path) -> None:
    """And the other, which has begun, stops as by Ctrl-C."""
    with pytest.raises(DataError, match=r"^Expected a cat, got a dog\.$"):
        fan_out.carry_out("piece", [{"do": "wait", "name": "long"}, {"do": "fail", "name": "short", "after": "long"}])
    assert (place / "long").read_text() == "saved"


def test_each_has_its_share_and_the_first_error_ends_all(place: Path) -> None:
    fan_out.carry_out("piece", [{"do": "work", "name": name} for name in "ab"])
    assert [(place / name).read_text() for name in "ab"] == ["1", "1"]
    one_fails(place)
    with pytest.raises(CommonsError, match="it was ended"):
        fan_out.carry_out("piece", [{"do": "die", "name": "c"}])


def test_ctrl_c_lets_them_save(place: Path) -> None:
    def press() -> None:
        written(place / "a")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(Stopped):
        fan_out.carry_out("piece", [{"do": "wait", "name": "a"}])
    assert (place / "a").read_text() == "saved"


def test_a_kill_of_the_first_ends_the_others(place: Path) -> None:
    begin = "import os; from modelcommons.workbench.engine import fan_out; "
    begin += "fan_out.carry_out('piece', [{'do': 'wait', 'name': 'a', 'who': os.getpid()}])"
    first = subprocess.Popen([sys.executable, "-P", "-c", begin])
    written(place / "a")
    (other,) = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if parent(pid) == first.pid]
    first.kill()
    first.wait()
    end = time.monotonic() + PATIENCE_S
    while parent(other) is not None:
        assert time.monotonic() < end, "it outlives the first"
        time.sleep(0.01)


def parent(pid: int) -> int | None:
    """Of a process that runs."""
    try:
        state, number = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else int(number)


def test_a_cluster_without_ray_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackage, match="modelcommons\\[ray\\]"):
        fan_out.carry_out("piece", [{}])


def test_over_ray_it_comes_to_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    try:
        fan_out.carry_out("piece", [{"do": "work", "name": name} for name in "ab"])
        assert [(place / name).read_text() for name in "ab"] == ["1", "1"]
        monkeypatch.delenv("RAY_ADDRESS")  # a program that has joined a cluster needs no address
        monkeypatch.setattr(fan_out, "_here", None)
        one_fails(place)
    finally:
        ray.shutdown()


# --- trainings ------------------------------------------------------------------------------------------------------


def test_candidates_at_once_come_to_what_they_come_to_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    task = fields.find("recommendation")
    models = [{"new": "popularity"}, {"new": "ease", "options": {"regularization": 10, "trend": 0}}]
    data = {"source": str(task.tiny(tmp_path / "data").source), "columns": {"time": "day"}}
    sections = {"task": task.name, "model": {"auto": models}, "data": data}
    made = {}
    for parallel in (1, 2):
        recipe = Recipe.model_validate({**sections, "tune": {"parallel": parallel}})
        folder = RunFolder(tmp_path / str(parallel))
        got = get(task, recipe, Silent())
        found = prepare(task, got.source, recipe, folder, Silent())
        told = {"recipe": recipe.model_dump(mode="json", by_alias=True), "split": dict(found.ids_sha256)}
        done = tune(task, got, found.parts, recipe, folder, Silent(), told)
        model = sorted((folder.path / done.trained[0].folder).iterdir())
        tried = [(each.name, each.value) for each in done.tried]
        made[parallel] = (done.choice.name, tried, [(path.name, path.read_bytes()) for path in model])
        assert (folder.path / "tune/try-1/done.json").is_file()
    assert made[1] == made[2] and made[1][0] == "ease"


def test_torchrun_and_parallel_do_not_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.model_validate(
        {"task": "dice", "model": {"new": "cube"}, "data": {"source": "x"}, "tune": {"parallel": 2}}
    )
    monkeypatch.setattr(ranks, "count", lambda: 2)
    with pytest.raises(UsageError, match="do not go together"):
        tune(None, None, None, recipe, None, None, {})  # type: ignore[arg-type]
