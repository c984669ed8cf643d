"""card: README.md of a model: front matter as the Hub wants it, and prose in which strangers' words are escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from modelcommons.errors import FormatError
from modelcommons.formats import yaml

if TYPE_CHECKING:
    from modelcommons.formats.receipt import Receipt, Result

# the Hub's order of keys; others follow in the order given
ORDER = (
    "license", "license_name", "license_link", "language", "library_name", "pipeline_tag", "tags", "base_model",
    "base_model_relation", "datasets", "metrics", "model-index",
)  # fmt: skip

# our tasks that have no pipeline tag of their own on the Hub, and the one that fits: that of CLIP, or `other`
# (huggingface.js, packages/tasks/src/pipelines.ts)
PIPELINE_TAGS = {
    "image-text-matching": "zero-shot-image-classification",
    "recommendation": "other",
    "speech-enhancement": "audio-to-audio",
}

FENCE = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def read_front_matter(text: str, name: str = "README.md") -> dict[str, Any]:
    """The values at the top of a card; none where it has no front matter.

    Raises:
        FormatError: it is no YAML, no mapping, or a YAML bomb.
    """
    fenced = FENCE.match(text)
    values = yaml.load(fenced[1], name) if fenced else None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise FormatError(f"{name}: expected `key: value` lines between the two `---`, got a {type(values).__name__}.")
    return values


def body(text: str) -> str:
    """The card without its front matter."""
    fenced = FENCE.match(text)
    return text[fenced.end() :] if fenced else text


def write(front: Mapping[str, Any], prose: str) -> str:
    """A card: the same values give the same bytes; empty ones are left out."""
    order = (*ORDER, *(key for key in front if key not in ORDER))
    known = {key: front[key] for key in order if front.get(key) not in (None, "", [], {})}  # False and 0 say something
    return f"---\n{yaml.dump(known)}---\n\n{prose.strip()}\n"


def model_index(
    name: str, task: str, data: str, revision: str | None, receipts: Mapping[str, Receipt], url: str | None = None
) -> list[dict[str, Any]]:
    """The Hub's `model-index`, from receipts: values as numbers, interval and baseline beside them.

    Args:
        data: name of the data set; its Hub id where it has one.
        receipts: by their path in the model folder.
        url: where the model folder will be read, so that each result can point at its receipt.

    Source: huggingface/hub-docs, modelcard.md.
    """
    entries = []
    for path, receipt in receipts.items():
        dataset = {"name": data, "type": data, "split": receipt.predicate.claim.split}
        entry: dict[str, Any] = {
            "task": {"type": PIPELINE_TAGS.get(task, task), "name": task},
            "dataset": dataset | ({"revision": revision} if revision else {}),
            "metrics": index_metrics(receipt),
        }
        entries.append(entry | ({"source": {"name": "signed receipt", "url": f"{url}/{path}"}} if url else {}))
    return [{"name": name, "results": entries}]


EVAL_RESULTS = ".eval_results/modelcommons.yaml"


def eval_results(dataset: str, revision: str | None, path: str, receipt: Receipt, url: str | None = None) -> str:
    """The Hub's `.eval_results/*.yaml`: the main metric of one receipt, on the data set's default task.

    Args:
        dataset: a Hub id; the Hub shows the number where that data set is a benchmark.
        path: of the receipt in the model folder.
        url: where the model folder will be read.

    Source: huggingface/hub-docs, eval-results.md.
    """
    claim, result = receipt.predicate.claim, receipt.predicate.results[0]
    entry: dict[str, Any] = {
        "dataset": {"id": dataset, "task_id": "default", **({"revision": revision} if revision else {})},
        "value": float(result.value),
        "date": receipt.predicate.finished,
        **({"source": {"url": f"{url}/{path}", "name": "signed receipt"}} if url else {}),
        "notes": (
            f"{claim.metric}, split {claim.split}, 95 % interval {result.ci95.low} to {result.ci95.high}, "
            f"baseline {result.baseline}; {path}, signed by {receipt.fingerprint}"
        ),
    }
    return yaml.dump([entry])


def index_metrics(receipt: Receipt) -> list[dict[str, Any]]:
    """What `model-index` says of one receipt: every number that it has signed."""
    return [_metric(result, receipt.predicate.predictions.count) for result in receipt.predicate.results]


def _metric(result: Result, rows: int) -> dict[str, Any]:
    low, high, baseline = float(result.ci95.low), float(result.ci95.high), float(result.baseline)
    return {
        "type": result.metric,
        "name": f"{result.metric} (95 % interval {low:.4g} to {high:.4g}, baseline {baseline:.4g})",
        "value": float(result.value),
        "args": {"ci95": [low, high], "baseline": baseline, "direction": result.direction, "rows": rows},
    }


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page shows: the cells of each table row, and its headline."""

    rows: Sequence[Sequence[str]] = ()
    headline: str = ""


def shown(prose: str) -> Shown:
    """What the card's Markdown shows."""
    lines = [line.strip() for line in prose.splitlines()]
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")
    ]
    return Shown(rows, next((line for line in lines if line.startswith("**")), "").replace("*", ""))


def shown_in_html(page: str) -> Shown:
    """What report.html shows."""
    reader = _Reader()
    reader.feed(page)
    return Shown(reader.rows, reader.headline)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.headline = ""
        self.inside = ""  # the tag whose text is read

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.inside = tag
            self.rows = self.rows or [[]]
            self.rows[-1].append("")
        elif tag == "p" and ("class", "headline") in attrs:
            self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "p":
            self.headline += data
        elif self.inside:
            self.rows[-1][-1] += data


def escape(text: object) -> str:
    """A stranger's words inside Markdown: shown as they are, on one line, never as markup or HTML."""
    line = _line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*|~$]|(?<!\w)_|_(?!\w)|\](?=[(\[:]))", r"\\\1", line)
    # what would begin a list, a heading or a rule
    return re.sub(r"^([-+=#]+|\d+[.)])(?=\s|$)", lambda start: "".join(f"&#{ord(char)};" for char in start[0]), line)


def code(text: object) -> str:
    """A stranger's words as inline code, in a fence longer than any run of backticks in them."""
    line = _line(text)
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * (longest + 1)
    space = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{space}{line}{space}{fence}".replace("|", "\\|")


def _line(text: object) -> str:
    """One line without control characters, or such that turn the direction of writing."""
    return "".join(char for char in re.sub(r"\s+", " ", str(text)).strip() if char.isprintable())
