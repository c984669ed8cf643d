"""what every test may rely on: no network but loopback (pyproject.toml), a home of its own, real data where it is."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from called import Commons, Nobody, Told

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"

# before anything is imported: one thread for each of the processes; nothing written into, or read from, a real home
os.environ.setdefault("OMP_NUM_THREADS", "1")
HOME = tempfile.mkdtemp(prefix="commons-test-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_HOME"):
    os.environ[name] = f"{HOME}/{name.lower()}"
os.environ["MPLCONFIGDIR"] = str(ROOT / ".pytest_cache" / "matplotlib")  # its font list takes seconds to make

# who starts us in the background may have had us ignore Ctrl-C, which some tests press
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# no limit on time, the same examples on every machine, nothing written beside the tests
hypothesis.settings.register_profile("commons", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("commons")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Forks first: once a library has made torch start threads for gradients, no fork of the process gets any."""
    items.sort(key=lambda item: item.path.name != "test_ranks.py")


@pytest.fixture
def commons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Commons]:
    """The command line, in an empty folder, with nobody at the keyboard."""
    from modelcommons.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", Nobody())
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> Told:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capfd.readouterr()
        return Told(int(ended.value.code or 0), out, err)

    yield call
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """The folder of a real data set in ../shared/data; the test is skipped where it is not there."""

    def find(name: str) -> Path:
        if not (DATA / name).is_dir():
            pytest.skip(f"needs the real data in ../shared/data/{name}")
        return DATA / name

    return find
