"""precision and recall of the personal data patterns on the synthetic sentences of pii_synth, and their speed.

    python benchmarks/personal_data.py ../shared/data/pii_synth [train|test]

A finding counts when its kind is right and it overlaps the marked span by half of their union.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from modelcommons.workbench.privacy.patterns import find, scan

# label of the data set -> our kind; kinds without a pattern (names, addresses) are left out on both sides
LABELS = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "payment_card",
    "IBAN_CODE": "iban",
    "US_SSN": "us_ssn",
    "IP_ADDRESS": "ip_address",
}


def main(folder: Path, split: str, show: bool) -> None:
    rows = pq.read_table(folder / f"{split}.parquet").to_pylist()
    right, given, wanted = Counter[str](), Counter[str](), Counter[str]()
    began = time.perf_counter()
    voted = scan(row["text"] for row in rows).voted  # as `prepare` does
    for row in rows:
        found = [(one.kind, one.start, one.end) for one in find(row["text"], voted)]
        marked = [(LABELS[s["label"]], s["start"], s["end"]) for s in row["spans"] if s["label"] in LABELS]
        given.update(kind for kind, *_ in found)
        wanted.update(kind for kind, *_ in marked)
        hit = [one for one in found if any(agree(one, other) for other in marked)]
        right.update(kind for kind, *_ in hit)
        missed = [row["text"][s:e] for kind, s, e in marked if not any(agree((kind, s, e), one) for one in found)]
        wrong = [(kind, row["text"][s:e]) for kind, s, e in found if (kind, s, e) not in hit]
        if show and (missed or wrong):
            print("missed", missed, "wrong", wrong, "|", row["text"][:120].replace("\n", " "))
    seconds = time.perf_counter() - began
    print(f"{'kind':14} {'marked':>7} {'found':>7} {'precision':>10} {'recall':>7}")
    for kind in [*LABELS.values(), "all"]:
        k, g, w = (sum(c.values()) if kind == "all" else c[kind] for c in (right, given, wanted))
        print(f"{kind:14} {w:7} {g:7} {k / max(g, 1):10.3f} {k / max(w, 1):7.3f}")
    size = sum(len(row["text"].encode()) for row in rows)
    print(f"{len(rows):,} texts, {2 * size / 1e6 / seconds:.1f} MB/s on one core")


def agree(a: tuple[str, int, int], b: tuple[str, int, int]) -> bool:
    common = min(a[2], b[2]) - max(a[1], b[1])
    return a[0] == b[0] and common > 0 and 2 * common >= max(a[2], b[2]) - min(a[1], b[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "test", "--show" in sys.argv)
