"""kill -9, a damaged checkpoint, Ctrl-C: whatever ends a run, the same command goes on to the same bytes.

The children are real processes that run `commons run` and are killed; a fork server that has imported torch once makes
them cheap.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from modelcommons.workbench import folder as folders
from modelcommons.workbench.engine import checkpoint, classification
from modelcommons.workbench.fields import find
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.stages.report import plots

RECIPE = """
task: image-classification
model: {new: cnn, options: {widths: [16, 32]}}
data: {source: ./data, license: cc0-1.0}
tune: {epochs: 1, seeds: [0, 1], checkpoint_seconds: 0}
explain: {examples: 0}
"""
COMMAND = ("run", "recipe.yaml", "--folder", "run")
CHANCE = random.Random(20)
PATIENCE_S = 300.0
PRELOADED = (
    "torch._dynamo", "pandas", "jinja2", "sklearn", "PIL.Image",
    "huggingface_hub", "modelcommons.workbench.run", "modelcommons.cli.commands",
)  # fmt: skip


# --- a run that can be killed ---------------------------------------------------------------------------------------


def commons(place: str, kill_at: int = 0, arguments: tuple[str, ...] = COMMAND) -> None:
    """The command, in a process of its own; with `kill_at` it is killed at that event of the file system."""
    os.chdir(place)
    for module in (plots, classification):  # a third of the work of a run, and no file is written by it
        module.svg = lambda draw, width, height: "<svg/>"  # type: ignore[attr-defined]
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    count = Events(kill_at)
    try:
        from modelcommons.cli import main

        main(arguments)
    finally:
        Path("events").write_text(str(count.seen))


class Events:
    """Counts what makes files durable, moves or removes them; kills before the one it was asked to."""

    def __init__(self, kill_at: int) -> None:
        self.seen, self.kill_at = 0, kill_at
        for module, name in (
            (os, "fsync"),
            (os, "replace"),
            (os, "rename"),
            (shutil, "rmtree"),
            (folders, "_exchange"),
        ):
            setattr(module, name, self.counted(getattr(module, name)))

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def before(*arguments: Any, **named: Any) -> Any:
            self.seen += 1
            if self.seen == self.kill_at:
                if call.__name__ == "fsync":
                    self.tear(arguments[0])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return before

    def tear(self, handle: Any) -> None:
        """What was not flushed yet is lost, as in a power cut."""
        with suppress(OSError):  # a folder, or opened for reading
            os.ftruncate(handle, os.fstat(handle).st_size // 2)


@dataclass
class World:
    """Data, recipe, and what an undisturbed run made of them."""

    folder: Path
    wanted: dict[str, bytes]
    events: int  # of an undisturbed run
    seconds: float  # from the beginning of training to the end

    def place(self, name: str) -> Path:
        """A folder with recipe and data in which nothing ran yet."""
        place = self.folder / name
        place.mkdir()
        (place / "recipe.yaml").write_text(RECIPE)
        (place / "data").symlink_to(self.folder / "data")
        return place


def begin(place: Path, kill_at: int = 0, arguments: tuple[str, ...] = COMMAND) -> BaseProcess:
    (place / "stderr").unlink(missing_ok=True)
    child = CONTEXT.Process(target=commons, args=(str(place), kill_at, arguments))
    child.start()
    return child


CONTEXT: Any = multiprocessing.get_context("forkserver")


def wait_for(place: Path, stage: str, child: BaseProcess) -> None:
    """Until the child has said its line of this stage."""
    until = time.monotonic() + PATIENCE_S
    while child.is_alive() and time.monotonic() < until:
        if (place / "stderr").exists() and f"\n{stage} " in "\n" + (place / "stderr").read_text():
            return
        time.sleep(0.002)


def finish(place: Path, arguments: tuple[str, ...] = COMMAND) -> int | None:
    child = begin(place, arguments=arguments)
    child.join(PATIENCE_S)
    return child.exitcode


def made(place: Path) -> dict[str, bytes]:
    """The weights, configuration and answers that were published; receipts have a date."""
    model = place / "run" / "model"
    names = ("model.safetensors", "config.json", "predictions/model.jsonl.gz", "predictions/seed-1.jsonl.gz")
    return {name: (model / name).read_bytes() for name in names}


def assert_whole(place: Path, world: World) -> None:
    assert made(place) == world.wanted
    left = [path for path in (place / "run").rglob("*") if path.name.endswith((".part", ".old"))]
    assert not left, "nothing half written stays behind"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("resume")
    find("image-classification").tiny(folder / "data")
    CONTEXT.set_forkserver_preload([*PRELOADED, __name__])
    made_so_far = World(folder, {}, 0, 0.0)
    for name in ("first", "undisturbed"):  # the first also fills caches
        child = begin(place := made_so_far.place(name))
        wait_for(place, "prepare", child)
        began = time.monotonic()
        child.join(PATIENCE_S)
        assert child.exitcode == 0, (place / "stderr").read_text()
        seconds = time.monotonic() - began
    assert made(folder / "first") == made(folder / "undisturbed")
    return World(folder, made(place), int((place / "events").read_text()), seconds)


# --- kill -9 --------------------------------------------------------------------------------------------------------


def test_killed_at_random_moments_it_comes_to_the_same_bytes(world: World) -> None:
    """Twenty kills after random times, in as many runs as they need; each run is then finished and compared."""
    kills = runs = 0
    while kills < 20:
        place, killed = world.place(f"timed-{runs}"), True
        while killed and kills < 20:
            child = begin(place)
            wait_for(place, "prepare", child)
            child.join(CHANCE.uniform(0, world.seconds))
            child.kill()
            child.join()
            assert child.exitcode in (0, -signal.SIGKILL)
            killed = child.exitcode != 0
            kills += killed
        assert finish(place) == 0
        assert_whole(place, world)
        runs += 1


def test_killed_inside_the_writing_of_files_it_comes_to_the_same_bytes(world: World) -> None:
    """Eight kills before a random flush, rename or removal: checkpoints, finished stages, receipts, model folder."""
    kills = runs = 0
    while kills < 8:
        place, killed = world.place(f"event-{runs}"), True
        left = world.events
        while killed and kills < 8:
            child = begin(place, kill_at=CHANCE.randrange(1, left))
            child.join(PATIENCE_S)
            killed = child.exitcode == -signal.SIGKILL
            kills += killed
            left = max(left * 2 // 3, 20)
        assert finish(place) == 0
        assert_whole(place, world)
        runs += 1


def test_killed_while_it_publishes_again_the_old_model_or_the_new_is_there(world: World) -> None:
    place = world.place("publish")
    assert finish(place) == 0 and finish(place) == 0
    events = int((place / "events").read_text())  # of a run in which only publishing is left
    for kill_at in (*range(events - 3, events + 1), CHANCE.randrange(1, events - 3)):
        child = begin(place, kill_at)
        child.join(PATIENCE_S)
        assert child.exitcode == -signal.SIGKILL
        assert made(place) == world.wanted and (place / "run" / "model" / "README.md").stat().st_size
    assert finish(place) == 0
    assert_whole(place, world)


def test_a_plain_process_killed_twice_goes_on(world: World) -> None:
    """As a person would: the command, `kill -9`, the command again."""
    place = world.place("plain")
    command = [sys.executable, "-c", "from modelcommons.cli import main; main()", *COMMAND]
    for _ in range(2):
        child = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert child.stderr
        assert any(line.startswith("prepare ") for line in child.stderr)
        time.sleep(CHANCE.uniform(0, 1))
        child.kill()
        child.communicate()
    assert finish(place) == 0
    assert_whole(place, world)


# --- damaged checkpoints --------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "tensors cut off": lambda step: cut(step / "tensors.safetensors"),
    "a bit flipped": lambda step: flip(step / "tensors.safetensors"),
    "state cut off": lambda step: cut(step / "state.json"),
    "manifest empty": lambda step: (step / "manifest.json").write_text("") and None,
    "manifest of another kind": lambda step: (step / "manifest.json").write_text("[]") and None,
    "manifest missing": lambda step: (step / "manifest.json").unlink(),
    "tensors missing": lambda step: (step / "tensors.safetensors").unlink(),
    "folder empty": lambda step: [path.unlink() for path in step.iterdir()] and None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_for_the_older_one(tmp_path: Path, damage: str) -> None:
    for step in (1, 2, 3):
        checkpoint.write(tmp_path, step, {"weight": torch.full((3,), float(step))}, {"step": step})
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-2", "step-3"], "two are kept"
    DAMAGES[damage](tmp_path / "step-3")
    found = checkpoint.newest(tmp_path)
    assert found and found.step == 2 and found.state == {"step": 2} and found.tensors["weight"].tolist() == [2.0] * 3
    DAMAGES[damage](tmp_path / "step-2")
    assert checkpoint.newest(tmp_path) is None
    checkpoint.write(tmp_path, 3, {"weight": torch.zeros(3)}, {"step": 3})
    assert (again := checkpoint.newest(tmp_path)) and again.step == 3, "the damaged one was replaced"


@pytest.mark.parametrize("num_damaged", [1, 2])
def test_a_run_whose_newest_checkpoints_are_damaged_comes_to_the_same_bytes(world: World, num_damaged: int) -> None:
    place = world.place(f"damaged-{num_damaged}")
    child = begin(place, kill_at=world.events // 3)
    child.join(PATIENCE_S)
    steps = sorted((place / "run").rglob("step-*"), key=lambda path: int(path.name[5:]))
    assert child.exitcode == -signal.SIGKILL
    assert len(steps) in (checkpoint.KEEP, checkpoint.KEEP + 1), "one more where the kill came before the oldest went"
    for step in steps[-num_damaged:]:
        flip(step / "tensors.safetensors")
    assert finish(place) == 0
    assert_whole(place, world)


def test_what_another_recipe_left_is_removed_in_an_order_that_a_kill_cannot_spoil(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while a stage of another recipe is removed; then the other recipe is run again: it is not finished."""
    run = RunFolder(tmp_path)
    run.restart("tune", "old")
    (tmp_path / "tune" / "weights").touch()
    run.finish("tune", "old", {})

    def killed(path: Path, **_: Any) -> None:
        (Path(path) / "weights").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", killed)
        run.restart("tune", "new")
    assert run.finished("tune", "old") is None
    (tmp_path / "tune" / "half").touch()
    run.restart("tune", "old")
    assert [path.name for path in (tmp_path / "tune").iterdir()] == ["key"]


# --- Ctrl-C ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", ["get", "prepare", "tune", "evaluate"])
def test_ctrl_c_says_how_to_go_on_and_running_again_does(world: World, after: str, stop: signal.Signals) -> None:
    place = world.place(f"stopped-{after}-{stop.name}")
    child = begin(place)
    wait_for(place, after, child)
    time.sleep(0.3 if after == "prepare" else 0.0)
    assert child.pid
    os.kill(child.pid, stop)
    child.join(PATIENCE_S)
    told = [line for line in (place / "stderr").read_text().splitlines() if line.split(" ")[0] not in STAGES]
    assert child.exitcode == 130 and (place / "stdout").read_text() == ""
    assert len(told) == 1 and "same command again to go on." in told[0], told
    if stop == signal.SIGINT and after in ("prepare", "evaluate"):  # once while it trains, once later
        assert finish(place) == 0
        assert_whole(place, world)


STAGES = ("get", "prepare", "tune", "evaluate", "explain", "shrink", "publish")


def test_two_runs_in_one_folder_are_one_too_many(world: World) -> None:
    place = world.place("locked")
    child = begin(place)
    wait_for(place, "prepare", child)
    (place / "recipe2.yaml").write_text(RECIPE)
    other = world.place("other")
    assert finish(other, ("run", "recipe.yaml", "--folder", str(place / "run"))) == 2
    assert "Another process is running in" in (other / "stderr").read_text()
    child.join(PATIENCE_S)
    assert child.exitcode == 0
    assert_whole(place, world)
