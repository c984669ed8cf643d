"""crash: a hub is killed at its system calls, its disk fails, its answers are lost: nothing acknowledged is lost.

`make test` takes a sample, `make test-crash` (COMMONS_TEST_CRASH=1) every point. What is done: crash/run.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from crash.faults import FAULTS

EVERYTHING = bool(os.environ.get("COMMONS_TEST_CRASH"))
HERE = Path(__file__).parent
# of those that the sample finds in seconds; `make test-crash` plants all
QUICK = ("claimed before the bytes came", "an error of fsync ignored")


def hurt(*arguments: str) -> dict[str, Any]:
    """What crash/run.py says; the test is skipped where this machine does not let it do it."""
    done = subprocess.run(
        [sys.executable, "-m", "crash.run", *arguments],
        cwd=HERE, env={**os.environ, "PYTHONPATH": str(HERE)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if reason := said.get("skipped"):
        pytest.skip(reason)
    return said


def sample(num: int) -> list[str]:
    return [] if EVERYTHING else ["--sample", str(num)]


def told(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """The scoreboard, whether or not the test's output is shown."""
    with capsys.disabled():
        print(f"\n{line}")


def test_nothing_acknowledged_is_lost_when_the_hub_is_killed(capsys: pytest.CaptureFixture[str]) -> None:
    said = hurt("kill", *sample(200))
    told(
        capsys,
        f"acknowledged writes lost: {said['bad_points']} / {said['acknowledged']} over {said['points']} kill points "
        f"of {said['all_points']} in {said['seconds']} s",
    )
    assert not said["problems"], "\n".join(said["problems"])
    assert said["points"] == said["all_points"] if EVERYTHING else said["points"] >= 190


def test_a_disk_that_fails_is_no_mistake_of_the_hub(capsys: pytest.CaptureFixture[str]) -> None:
    said = hurt("error", *sample(40))
    told(
        capsys,
        f"writes acknowledged in spite of a failing disk, or half there: {said['bad_points']} / {said['points']}",
    )
    assert not said["problems"], "\n".join(said["problems"])


@pytest.mark.parametrize("name", list(FAULTS) if EVERYTHING else QUICK)
def test_a_planted_fault_is_found(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    fault = FAULTS[name]
    said = hurt(fault.mode, "--fault", name, "--only", fault.operation)
    found = said["problems"][0] if said["problems"] else "NOT FOUND"
    told(capsys, f"{name}: found by {fault.mode} after {said['points']} points: {found[:120]}")
    assert said["problems"]
