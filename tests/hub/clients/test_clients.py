"""clients: the programs of this folder, each its own process, against a hub that is another.

The newest client is the one this environment has; with COMMONS_TEST_CLIENTS (`make test-clients`) the older ones in
.clients/ run too. Every `check_..` of a program is one test here.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, serve

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PROGRAMS = [
    "repos", "files", "history", "community", "listing", "filesystem", "command_line", "by_git", "networks_push",
    "networks_load", "rows_push", "rows_load",
]  # fmt: skip
AFTER = {"networks_load": "networks_push", "rows_load": "rows_push"}
NEEDS = {"networks": "transformers", "rows": "datasets"}  # beginning of a program's name -> package
LIMIT_S = 900

PARTS = 20_000_000  # bytes; a file object of more goes up in parts

CLIENTS = {"newest": Path(sys.executable)}
if os.environ.get("COMMONS_TEST_CLIENTS"):
    CLIENTS |= {path.name: path / "bin" / "python" for path in sorted((ROOT / ".clients").iterdir()) if path.is_dir()}

Ran = Callable[[str], dict[str, dict[str, Any]]]


def checks(program: str) -> list[str]:
    """The names of a program's checks, in order."""
    tree = ast.parse((HERE / f"{program}.py").read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")]


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Path:
    return CLIENTS[request.param]


@pytest.fixture(scope="module")
def hub(client: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One hub for each version of the client, with nothing in it."""
    with serve(tmp_path_factory.mktemp("hub") / "hub", part_bytes=PARTS) as served:
        yield served
        assert "Traceback" not in served.log(), served.log()[-6000:]


@pytest.fixture(scope="module")
def ran(client: Path, hub: Served, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """What each check of a program said; a program runs once."""
    done: dict[str, dict[str, dict[str, Any]]] = {}

    def run(program: str) -> dict[str, dict[str, Any]]:
        if program in AFTER:
            run(AFTER[program])
        if program not in done:
            done[program] = start(client, program, hub, tmp_path_factory.mktemp(program))
        return done[program]

    return run


def start(client: Path, program: str, hub: Served, folder: Path) -> dict[str, dict[str, Any]]:
    (folder / "work").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "COMMONS_"))}
    environment |= {
        "HF_ENDPOINT": hub.url, "HF_TOKEN": hub.tokens["ada"], "HF_HOME": str(folder / "home"),
        "CLIENT_TOKENS": json.dumps(hub.tokens), "CLIENT_FOLDER": str(folder / "work"), "PYTHONWARNINGS": "ignore",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "OMP_NUM_THREADS": "1",
        "PYTHONPATH": "",
    }  # fmt: skip
    done = subprocess.run(
        [client, HERE / f"{program}.py"], env=environment, capture_output=True, text=True, timeout=LIMIT_S
    )
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name": "check_')]
    assert done.returncode == 0 and said, f"{program} ended early:\n{done.stdout[-2000:]}{done.stderr[-6000:]}"
    return {line["name"]: line for line in said}


@pytest.mark.parametrize(("program", "check"), [(program, check) for program in PROGRAMS for check in checks(program)])
def test_client(ran: Ran, client: Path, program: str, check: str) -> None:
    package = NEEDS.get(program.split("_")[0])
    if package and not has(client, package):
        pytest.skip(f"{package} is not installed beside this version")
    if program == "by_git" and not shutil.which("git-lfs"):
        pytest.skip("git-lfs is not installed (Debian: apt-get install git-lfs)")
    said = ran(program)[check]
    if said["ok"] is None:
        pytest.skip(said["text"])
    assert said["ok"], said["text"]


def has(client: Path, package: str) -> bool:
    return any((client.parent.parent / "lib").glob(f"python*/site-packages/{package}/__init__.py"))


def test_every_program_is_run() -> None:
    programs = {path.stem for path in HERE.glob("*.py")} - {"checks", "test_clients"}
    assert programs == set(PROGRAMS)
