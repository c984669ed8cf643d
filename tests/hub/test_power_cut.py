"""power cut: what a disk holds the moment the power goes is a hub in which nothing acknowledged is missing.

Two ways: a real server under load whose disks are copied at any moment (crash/cutting.py), and one process that is
stopped before, and after, each of its system calls (crash/run.py power). `make test-crash` does 50 cuts and all calls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from test_crash import EVERYTHING, HERE, hurt, sample, told


def test_a_server_under_load_survives_power_cuts(capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crash.cutting", "--cuts", "50" if EVERYTHING else "4"],
        cwd=HERE, env={**os.environ, "PYTHONPATH": str(HERE)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    said = json.loads(done.stdout.splitlines()[-1])
    if reason := said.get("skipped"):
        pytest.skip(reason)
    told(
        capsys,
        f"acknowledged writes lost: {len(said['problems'])} / {said['acknowledged']} over {said['cuts']} power cuts "
        f"in {said['seconds']} s",
    )
    assert not said["problems"], "\n".join(said["problems"])
    assert said["acknowledged"] > said["cuts"]


def test_nothing_acknowledged_is_lost_when_the_power_goes_at_a_system_call(capsys: pytest.CaptureFixture[str]) -> None:
    said = hurt("power", *sample(12))
    told(
        capsys,
        f"acknowledged writes lost: {said['bad_points']} / {said['acknowledged']} over {said['points']} power cuts at "
        f"calls, of {said['all_points']}, in {said['seconds']} s",
    )
    assert not said["problems"], "\n".join(said["problems"])
