"""crash: a hub is killed at its system calls, its disk fails, its answers are lost: nothing acknowledged is lost.

`make test` kills it at 200 system calls and plants three faults that must be found; `make test-crash`
(COMMONS_TEST_CRASH=1) does it at every point, and the rest. What is done: crash/run.py.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from crash.faults import FAULTS
from crash.losing import between
from hubs import Running

EVERYTHING = bool(os.environ.get("COMMONS_TEST_CRASH"))
HERE = Path(__file__).parent
SAMPLE = 200  # kill points in `make test`
BITES = ("acknowledged before the transaction commits", "bytes written after the transaction", "a file's fsync removed")
long = pytest.mark.skipif(not EVERYTHING, reason="takes long: make test-crash")


def hurt(*arguments: str) -> dict[str, Any]:
    """What crash/run.py says."""
    return run("crash.run", *arguments)


def run(program: str, *arguments: str) -> dict[str, Any]:
    """The last line of one of the programs; the test is skipped where this machine does not let it do its work."""
    done = subprocess.run(
        [sys.executable, "-m", program, *arguments],
        cwd=HERE, env={**os.environ, "PYTHONPATH": str(HERE)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if reason := said.get("skipped"):
        pytest.skip(reason)
    return said


def told(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """The scoreboard, whether or not the test's output is shown."""
    with capsys.disabled():
        print(f"\n{line}")


def test_nothing_acknowledged_is_lost_when_the_hub_is_killed(capsys: pytest.CaptureFixture[str]) -> None:
    said = hurt("kill", *(() if EVERYTHING else ("--sample", str(SAMPLE))))
    told(
        capsys,
        f"acknowledged writes lost: {said['bad_points']} / {said['acknowledged']} over {said['points']} kill points "
        f"of {said['all_points']} in {said['seconds']} s",
    )
    assert not said["problems"], "\n".join(said["problems"])
    assert said["points"] == (said["all_points"] if EVERYTHING else SAMPLE)


@long
def test_a_disk_that_fails_is_no_mistake_of_the_hub(capsys: pytest.CaptureFixture[str]) -> None:
    said = hurt("error")
    told(
        capsys,
        f"writes acknowledged in spite of a failing disk, or half there: {said['bad_points']} / {said['points']}",
    )
    assert not said["problems"], "\n".join(said["problems"])


def test_planted_faults_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    planted = FAULTS.keys() if EVERYTHING else set(BITES)
    said = hurt("faults", "--only", *planted)
    found = {name: each for name, each in said.items() if name in FAULTS}
    told(capsys, "\n".join(f"{name}: {_how(each)}" for name, each in found.items()))
    assert found.keys() == planted
    assert not [name for name, each in found.items() if "skipped" not in each and not each["problems"]]


def _how(said: dict[str, Any]) -> str:
    if "skipped" in said:
        return said["skipped"]
    problem = said["problems"][0] if said["problems"] else "NOT FOUND"
    return f"found by {said['mode']} within {said['points']} points: {problem.strip().splitlines()[-1][:120]}"


def test_an_answer_that_was_lost_is_given_again(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    num, draw = 200 if EVERYTHING else 12, random.Random(0)
    cuts = [draw.choice((0, 1, draw.randrange(600))) for _ in range(num)]
    with server.client("ada") as client:
        assert client.post("/api/repos/create", json={"name": "lost", "type": "model"}).status_code == 200
        at = "/api/models/ada/lost/commit/main"
        told_oids = asyncio.run(_commit_through(server, at, cuts))
        for number in range(num):
            again = client.post(at, **_request(number))
            assert again.json()["commitOid"] == told_oids[number]
        log = [one["title"] for one in client.get("/api/models/ada/lost/commits/main?limit=1000").json()]
    assert sorted(log[:-1]) == sorted(map(str, range(num)))  # each once; the oldest is the one that made the repository
    told(capsys, f"answers lost on the way and asked for again: {num}; commits that came twice or not at all: 0")


async def _commit_through(server: Running, path: str, cuts: list[int]) -> list[str]:
    """Commits whose answers do not arrive whole; what the hub said."""
    headers = {"Authorization": f"Bearer {server.tokens['ada']}"}
    async with between(server.port, iter(cuts)) as (port, proxy):
        for number in range(len(cuts)):
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
                with pytest.raises(httpx2.TransportError):
                    await client.post(path, **_request(number))
    return [json.loads(answer.partition(b"\r\n\r\n")[2])["commitOid"] for answer in proxy.answers]


def _request(number: int) -> dict[str, Any]:
    content = base64.b64encode(str(number).encode()).decode()
    lines = [
        {"key": "header", "value": {"summary": str(number)}},
        {"key": "file", "value": {"path": f"{number}.txt", "content": content, "encoding": "base64"}},
    ]
    body = "\n".join(json.dumps(line) for line in lines)
    return {"content": body, "headers": {"Idempotency-Key": f"key {number}"}}
