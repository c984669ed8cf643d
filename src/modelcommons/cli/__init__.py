"""the command line: one function per command, and the one place that turns errors into words."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any

from modelcommons.errors import CommonsError, MissingPackage, Stopped, UsageError

# libraries that talk on their own; what they say is of no use to a person who waits for a run
QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
# threads that wait sleep: spinning ones make a shared machine several times slower (LOG.md, 2026-11-24)
PATIENT = {"OMP_WAIT_POLICY": "passive"}


def main(arguments: Sequence[str] | None = None) -> None:
    """The `commons` command; ends the process with 0, 1, 2, 3 or 130."""
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    debug = "--debug" in arguments
    for name, value in (QUIET | PATIENT).items():
        os.environ.setdefault(name, value)
    if not debug:
        warnings.simplefilter("ignore")
    signal.signal(signal.SIGTERM, _end)
    try:
        sys.exit(_called(arguments))
    except BrokenPipeError:  # nobody reads what is said meanwhile
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        sys.exit(2)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        known = _known(error)
        if not _said_elsewhere(known):
            _tell(known, "--json" in arguments)
        sys.exit(known.exit_code)


def _called(arguments: list[str]) -> int:
    """Parses and calls; the exit code."""
    from typer import Abort, TyperException

    from modelcommons.cli.commands import app

    try:
        code: Any = app(arguments, standalone_mode=False, prog_name="commons")
    except Abort:
        raise KeyboardInterrupt from None
    except SystemExit:  # how typer ends when a pipe breaks, with 1
        raise BrokenPipeError from None
    except TyperException as error:  # an unknown option, a missing argument
        message = error.format_message()
        raise UsageError(f"{message}{'' if message[-1] in '.?!' else '.'} See: {_help(error)}.") from None
    if code == Stopped.exit_code:  # how typer passes Ctrl-C on
        raise KeyboardInterrupt
    return int(code or 0)


def _help(error: Any) -> str:
    """The command that would have helped: `commons run --help`."""
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'commons'} --help"


def _end(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends like Ctrl-C, so that a checkpoint is written."""
    signal.raise_signal(signal.SIGINT)


def _said_elsewhere(error: CommonsError) -> bool:
    """Whether torchrun started this process to train beside another, which says the same."""
    from modelcommons.workbench.engine import ranks

    return not ranks.leads() and (isinstance(error, Stopped) or not ranks.joined())


# --- errors in words ------------------------------------------------------------------------------------------------


def _known(error: BaseException) -> CommonsError:
    """The error as one of ours; a sentence for whatever we did not raise on purpose."""
    match error:
        case CommonsError():
            return error
        case KeyboardInterrupt():
            return Stopped("Stopped. Nothing is lost: run the same command again to go on.")
        case ModuleNotFoundError() if error.name and not error.name.startswith("modelcommons"):
            package = error.name.split(".")[0]
            return MissingPackage(f"This needs '{package}'. Install all parts: pip install 'modelcommons[all]'.")
        case OSError() if error.strerror:
            where = f": {error.filename}" if error.filename else ""
            return UsageError(f"The system says: {error.strerror}{where}. Put that right, and run the same again.")
        case MemoryError():
            return UsageError("The memory is full. Try a smaller tune.batch_size, and `commons plan` first.")
    return CommonsError(
        f"This is a mistake of ours, not yours: {type(error).__name__}: {error}. "
        f"Please report it with {_written(error)}; --debug shows the same here."
    )


def _written(error: BaseException) -> str:
    """The file that the traceback was written to."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="commons-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write("".join(traceback.format_exception(error)))
    return file.name


def _tell(error: CommonsError, as_json: bool) -> None:
    """One sentence on stderr; with `--json`, one object on stdout."""
    if as_json:
        import json

        told = {"error": type(error).__name__, "message": str(error), "exit_code": error.exit_code}
        print(json.dumps({"error": told}, ensure_ascii=False), flush=True)
    else:
        print(error, file=sys.stderr, flush=True)
