"""lane: some of a run's trainings, in a process of its own, while others go on beside it (`tune.parallel`)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from modelcommons.workbench.engine import fan_out
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.run import beside


def main() -> None:
    """Trains what the order says into the run's folder; the data it finds for itself."""
    with (
        fan_out.order() as told,
        tempfile.TemporaryDirectory(prefix="commons-lane-") as scratch,
        beside(told, Path(scratch), RunFolder(Path(told["folder"]))) as tuning,
    ):
        tuning.lane(told)


if __name__ == "__main__":
    main()
