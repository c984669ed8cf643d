"""power cut: what a disk holds the moment the power goes is a hub in which nothing acknowledged is missing.

Two ways: a real server under load whose disks are copied at any moment (crash/cutting.py), and one process that is
killed at each of its system calls (crash/run.py power). In `make test-crash` only: 50 cuts, all calls.
"""

from __future__ import annotations

from typing import Any

import pytest
from test_crash import hurt, long, run, told


def cutting(mode: str, times: int) -> dict[str, Any]:
    """What crash/cutting.py says."""
    return run("crash.cutting", mode, "--times", str(times))


@long
def test_a_server_under_load_survives_kills(capsys: pytest.CaptureFixture[str]) -> None:
    said = cutting("kill", 20)
    told(
        capsys,
        f"acknowledged writes lost: {len(said['problems'])} / {said['acknowledged']} over {said['times']} kills of a "
        f"server under load in {said['seconds']} s",
    )
    assert not said["problems"], "\n".join(said["problems"])


@long
def test_a_server_under_load_survives_power_cuts(capsys: pytest.CaptureFixture[str]) -> None:
    said = cutting("power", 50)
    told(
        capsys,
        f"acknowledged writes lost: {len(said['problems'])} / {said['acknowledged']} over {said['times']} power cuts "
        f"in {said['seconds']} s",
    )
    assert not said["problems"], "\n".join(said["problems"])
    assert said["acknowledged"] > said["times"]


@long
def test_nothing_acknowledged_is_lost_when_the_power_goes_at_a_system_call(capsys: pytest.CaptureFixture[str]) -> None:
    said = hurt("power")
    told(
        capsys,
        f"acknowledged writes lost: {said['bad_points']} / {said['acknowledged']} over {said['points']} power cuts at "
        f"calls, of {said['all_points']}, in {said['seconds']} s",
    )
    assert not said["problems"], "\n".join(said["problems"])
