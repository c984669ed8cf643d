"""fan_out: pieces of work at the same time, each in a process of its own, on this machine or on a Ray cluster.

A piece is a module with a `main` that is run by `python -m`: `order` reads what it is to do, `answered` says how that
went. Between processes goes JSON, never a pickle.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import wait
from typing import Any, cast

from modelcommons import errors
from modelcommons.errors import CommonsError, MissingPackage, Stopped, UsageError

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
STOPPED = "Stopped; nothing is lost. Run the same command again to go on."


def carry_out(module: str, orders: Sequence[dict[str, Any]]) -> None:
    """Runs the module once for every order, all at once, each with its share of the processors.

    Over Ray where its cluster is named (`RAY_ADDRESS`) or this process has joined one, else here. When one piece fails
    the others are stopped, as by Ctrl-C; when this process is killed they end with it.

    Raises:
        CommonsError: what the piece said that failed first.
        Stopped: Ctrl-C.
        MissingPackage: RAY_ADDRESS is set, and Ray is not here.
        UsageError: there is no cluster at RAY_ADDRESS.
    """
    run = _over_ray if _on_a_cluster() else _here
    with closing(run(module, [json.dumps({**order, "cwd": os.getcwd()}) for order in orders])) as said:
        for text in said:
            _check(text)


def _check(text: str) -> None:
    """Raises what a piece said at its end."""
    lines = text.splitlines()
    if not lines:
        raise CommonsError(
            "Expected a process that worked beside this one to say how that went, it was ended. See what it printed; "
            "if nothing, the memory may be full: lower tune.parallel, and run the same again to go on."
        )
    told = json.loads(lines[-1])
    if told["error"]:
        raise cast(type[CommonsError], getattr(errors, told["error"]))(told["message"])


# --- on this machine ------------------------------------------------------------------------------------------------


def _here(module: str, orders: Sequence[str]) -> Generator[str]:
    """What each piece said, as they end."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    started = [_started(module, order, processors // len(orders)) for order in orders]
    pieces: dict[Any, subprocess.Popen[str]] = {piece.stdout: piece for piece in started}
    try:
        while pieces:
            for ended in wait(list(pieces)):
                yield _said(pieces.pop(ended))
    except KeyboardInterrupt:
        raise Stopped(STOPPED) from None
    finally:
        _stop(list(pieces.values()))


def _started(module: str, order: str, threads: int) -> subprocess.Popen[str]:
    """A process that has its order. It lives while its standard input is open, and hears of Ctrl-C from us only."""
    asked = [int(os.environ[name]) for name in THREADS if os.environ.get(name, "").isdecimal()]
    share = {name: str(max(1, min([threads, *asked]))) for name in THREADS}
    command, pipe = [sys.executable, "-P", "-m", module], subprocess.PIPE  # -P: no code from the current folder
    piece = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, env=os.environ | share, cwd=json.loads(order)["cwd"],
        start_new_session=True,
    )  # fmt: skip
    assert piece.stdin is not None
    piece.stdin.write(f"{order}\n")
    piece.stdin.flush()
    return piece


def _said(piece: subprocess.Popen[str]) -> str:
    """What it wrote until its end; its standard input stays open until then, else it would end at once."""
    assert piece.stdin is not None and piece.stdout is not None
    text = piece.stdout.read()
    piece.wait()
    piece.stdin.close()
    piece.stdout.close()
    return text


def _stop(pieces: Sequence[subprocess.Popen[str]]) -> None:
    """They write their checkpoints and end."""
    for piece in pieces:
        piece.send_signal(signal.SIGINT)
    for piece in pieces:
        _said(piece)


# --- on a cluster ---------------------------------------------------------------------------------------------------


def _on_a_cluster() -> bool:
    ray = sys.modules.get("ray")
    return "RAY_ADDRESS" in os.environ or bool(ray and ray.is_initialized())


def _over_ray(module: str, orders: Sequence[str]) -> Generator[str]:
    """The same, each on a machine of the cluster that has so many processors free."""
    if importlib.util.find_spec("ray") is None:
        raise MissingPackage("RAY_ADDRESS needs 'ray'. Install it: pip install 'modelcommons[ray]'.")
    import ray

    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what it would tell its makers
        try:
            ray.init(log_to_driver=False)
        except ConnectionError as error:
            raise UsageError(
                f"Expected a Ray cluster at RAY_ADDRESS, none answers: {error}. Start it first."
            ) from error
    threads = max(1, int(ray.cluster_resources()["CPU"]) // len(orders))
    piece = ray.remote(num_cpus=threads, max_retries=0)(_piece)
    pending = [piece.remote(module, order, threads) for order in orders]
    try:
        while pending:
            ended, pending = ray.wait(pending, num_returns=1)
            yield ray.get(ended[0])
    except KeyboardInterrupt:
        raise Stopped(STOPPED) from None
    finally:
        for each in pending:
            ray.cancel(each)  # as Ctrl-C there
        if pending:
            ray.wait(pending, num_returns=len(pending))


def _piece(module: str, order: str, threads: int) -> str:
    """One piece, on whatever machine; what it said."""
    piece = _started(module, order, threads)
    try:
        while piece.poll() is None:  # Ray's Ctrl-C is heard between two instructions, not in one that waits
            time.sleep(0.1)
    except KeyboardInterrupt:
        _stop([piece])
        raise
    return _said(piece)


# --- in the piece ---------------------------------------------------------------------------------------------------


@contextmanager
def order() -> Iterator[dict[str, Any]]:
    """What this process is to do; at the end it says how that went. It ends when who gave the order is no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    told = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_other, daemon=True).start()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored,
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # and Ray holds it back
    said = {"error": "", "message": ""}
    try:
        yield told
    except CommonsError as error:
        said = {"error": type(error).__name__, "message": str(error)}
    except KeyboardInterrupt:
        said = {"error": "Stopped", "message": STOPPED}
    print(json.dumps(said), file=answers, flush=True)


def _end_with_the_other() -> None:
    """A kill of who gave the order closes our standard input: the last checkpoint is where it goes on."""
    sys.stdin.read()
    os._exit(Stopped.exit_code)
