"""metadata requests per second and their 99th percentile, on a hub with 10,000 repositories.

    python benchmarks/hub_metadata.py [--repositories 10000] [--connections 32] [--seconds 10] [--workers 2]

Every repository has a card with tags, licence and task. So many connections stay open, and each asks again as soon as
it has its answer, about a repository by chance; hub and client share the machine. The last row, which the goal is for,
is what clients ask to download a model: its info at a revision and at main, its files, the heads of two of them; one
request in fifty is for a list.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from measure import heading
from measure.hub import Hub, load_average, serving, verdict

from modelcommons.hub.actions import commits, lifecycle, repos
from modelcommons.hub.history import Add
from modelcommons.hub.names import RepoId
from modelcommons.hub.permissions import Principal
from modelcommons.hub.stores import Stores

LEAST = 500  # requests per second
MOST_MS = 100  # milliseconds, of 99 in 100 requests
WARM_S = 2.0
ROUNDS = 3
TASKS = ("text-classification", "image-classification", "automatic-speech-recognition", "tabular-regression")
WORDS = ("bert", "resnet", "whisper", "forest", "tiny", "base", "large", "news", "street", "voice")
CARD = """---
license: apache-2.0
pipeline_tag: {task}
library_name: transformers
language: [en, zh]
tags: [{first}, {second}, made-up]
---
# Model {number}

A model of a benchmark.
"""

Ask = Callable[
    [random.Random, int], str
]  # of the number of repositories: the first line of a request, without HTTP/1.1


def name(number: int) -> str:
    return f"{WORDS[number % 10]}-{WORDS[number // 10 % 10]}-{number}"


def a_name(rng: random.Random, count: int) -> str:
    return f"ada/{name(rng.randrange(count))}"


def a_download(rng: random.Random, count: int) -> str:
    """What snapshot_download and from_pretrained ask, in the shares in which they ask it."""
    if rng.random() < 0.02:
        return a_list(rng, count)
    model = a_name(rng, count)
    return rng.choice((
        f"GET /api/models/{model}/revision/main", f"GET /api/models/{model}",
        f"GET /api/models/{model}/tree/main?recursive=true", f"HEAD /{model}/resolve/main/config.json",
        f"HEAD /{model}/resolve/main/README.md",
    ))  # fmt: skip


def a_list(rng: random.Random, count: int) -> str:
    return f"GET /api/models?limit=20&filter={rng.choice(WORDS)}&sort=lastModified&direction=-1"


ASKED: dict[str, Ask] = {
    "health": lambda rng, count: "GET /health",
    "info": lambda rng, count: f"GET /api/models/{a_name(rng, count)}",
    "files": lambda rng, count: f"GET /api/models/{a_name(rng, count)}/tree/main?recursive=true",
    "head of a file": lambda rng, count: f"HEAD /{a_name(rng, count)}/resolve/main/config.json",
    "list of 20": a_list,
    "search": lambda rng, count: f"GET /api/models?limit=20&search={rng.choice(WORDS)}-{rng.choice(WORDS)}",
    "as clients ask": a_download,
}


def fill(stores: Stores, who: Principal, count: int) -> None:
    """Makes the repositories as people would: each is created, and gets a card and a configuration by a commit."""
    rng = random.Random(0)
    for number in range(count):
        rid = RepoId("model", "ada", name(number))
        lifecycle.create(stores, who, rid, private=False)
        first, second = rng.sample(WORDS, 2)
        card = CARD.format(task=TASKS[number % 4], first=first, second=second, number=number)
        opened = repos.open_repo(stores, who, rid, "write")
        files = [Add("README.md", card.encode()), Add("config.json", b'{"hidden_size": %d}' % number)]
        commits.commit(stores, opened, "main", commits.Header("Add a card"), files)


class Line(asyncio.Protocol):
    """One connection that asks, waits for the whole answer, and asks again; nothing is parsed but its length."""

    def __init__(self, following: Callable[[], str], token: str, until: float) -> None:
        self.following, self.until = following, until
        self.rest = f" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
        self.taken: list[float] = []  # seconds
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.asked = self.following()
        self.held = bytearray()
        self.length: int | None = None  # of head and body
        self.since = time.perf_counter()
        self.transport.write((self.asked + self.rest).encode())

    def data_received(self, data: bytes) -> None:
        self.held += data
        if self.length is None:
            end = self.held.find(b"\r\n\r\n")
            if end < 0:
                return
            self.length = end + 4 + self.body(bytes(self.held[:end]).lower())
        if len(self.held) < self.length:
            return
        now = time.perf_counter()
        self.taken.append(now - self.since)
        if now < self.until:
            self.ask()
        else:
            self.transport.close()

    def body(self, head: bytes) -> int:
        if not head.startswith((b"http/1.1 2", b"http/1.1 3")):
            sys.exit(f"{self.asked} answered {bytes(self.held[:500])!r}")
        if self.asked.startswith("HEAD"):
            return 0
        return int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])

    def connection_lost(self, error: Exception | None) -> None:
        self.over.set_result(None)


async def load(hub: Hub, ask: Ask, count: int, connections: int, seconds: float) -> tuple[float, list[float]]:
    """Requests per second, and the seconds that each took."""
    rng = random.Random(count)
    loop, until = asyncio.get_running_loop(), time.perf_counter() + seconds
    begun = time.perf_counter()
    lines: list[Line] = []
    for _ in range(connections):
        _, line = await loop.create_connection(
            lambda: Line(lambda: ask(rng, count), hub.token, until), "127.0.0.1", hub.port
        )
        lines.append(line)
    await asyncio.gather(*(line.over for line in lines))
    taken = [one for line in lines for one in line.taken]
    return len(taken) / (time.perf_counter() - begun), taken


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else values[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repositories", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    heading()
    begun = time.perf_counter()
    with serving(
        prepare=lambda stores, who: fill(stores, who, options.repositories), workers=options.workers
    ) as hub:  # fmt: skip
        print(
            f"{options.repositories:,} repositories made in {time.perf_counter() - begun:,.0f} s · "
            f"{options.connections} connections · {options.workers} processes answer · {load_average()}\n",
            flush=True,
        )
        for title, ask in ASKED.items():
            asyncio.run(load(hub, ask, options.repositories, options.connections, WARM_S))
            rates: list[float] = []
            taken: list[float] = []
            for _ in range(ROUNDS):
                rate, some = asyncio.run(
                    load(hub, ask, options.repositories, options.connections, options.seconds / ROUNDS)
                )
                rates.append(rate)
                taken += some
            rate, tail = statistics.median(rates), percentile(taken, 99) * 1000
            print(
                f"{title:<15} {rate:6,.0f} requests/s ({min(rates):,.0f} to {max(rates):,.0f}, {ROUNDS} rounds) · "
                f"p50 {percentile(taken, 50) * 1000:.0f} ms, p99 {tail:.0f} ms (n = {len(taken):,})",
                flush=True,
            )
    print(
        f"\nexpected, as clients ask: at least {LEAST} requests/s, p99 of at most {MOST_MS} ms; "
        f"it {verdict(rate >= LEAST and tail <= MOST_MS)}"
    )


if __name__ == "__main__":
    main()
