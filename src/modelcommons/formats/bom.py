"""bom: a CycloneDX 1.6 bill of materials of a model folder: its files, data and base model, and what receipts say.

Source: cyclonedx.org/docs/1.6/json, component types `machine-learning-model` and `data`, `modelCard`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcommons.errors import FormatError

if TYPE_CHECKING:
    from modelcommons.formats.receipt import Receipt

NAME = "model.cdx.json"  # the ending that CycloneDX recommends
LARGEST = 16 * 2**20  # bytes

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scored:
    """A model or an export, its files, and its receipt."""

    name: str
    files: Mapping[str, str]  # path in the folder -> sha256
    receipt: Receipt
    receipt_path: str
    receipt_sha256: str


@dataclass(frozen=True, slots=True)
class Work:
    """What the model was made from: the data, or an open model."""

    name: str
    revision: str | None
    licence: str | None
    sha256: str  # tree digest (receipts.md), not that of one file
    url: str | None = None


def write(
    model: Scored, exports: Sequence[Scored], data: Work, base: Work | None, *, task: str, licence: str, tool: str
) -> str:
    """The bill as JSON; the same values give the same text.

    Args:
        licence: of the model, in words.
        tool: our version.
    """
    made_from = [_data(data), *([_base(base)] if base else [])]
    told = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, model.receipt_sha256)}",
        "version": 1,
        "metadata": {
            "timestamp": model.receipt.predicate.finished,
            "tools": {"components": [{"type": "application", "name": "modelcommons", "version": tool}]},
            "component": _model(model, "model", task, licence),
        },
        "components": [*made_from, *(_model(export, export.name, task, licence) for export in exports)],
        "dependencies": [
            {"ref": "model", "dependsOn": [each["bom-ref"] for each in made_from]},
            *({"ref": export.name, "dependsOn": ["model"]} for export in exports),
        ],
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def metrics(receipt: Receipt) -> list[Json]:
    """The receipt's numbers as CycloneDX performance metrics, as they were signed."""
    return [
        {
            "type": result.metric,
            "value": result.value,
            "confidenceInterval": {"lowerBound": result.ci95.low, "upperBound": result.ci95.high},
        }
        for result in receipt.predicate.results
    ]


def read_metrics(path: Path) -> list[list[Json]]:
    """The performance metrics of every model in a bill, which may be a stranger's.

    Raises:
        FormatError: it is no CycloneDX bill in JSON.
    """
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(LARGEST))
        components = [told["metadata"]["component"], *told["components"]]
        cards = [each["modelCard"] for each in components if "modelCard" in each]
        return [list(each["quantitativeAnalysis"]["performanceMetrics"]) for each in cards]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise FormatError(f"Expected a CycloneDX bill of materials in {path.name}, got something else.") from None


def _model(scored: Scored, ref: str, task: str, licence: str) -> Json:
    told = scored.receipt.predicate
    # a property, not a hash: `hashes` are of one file, this is of the list of all
    properties = {
        "modelcommons:model:sha256": scored.receipt.model_sha256,
        "modelcommons:signer": scored.receipt.fingerprint,
        **{f"modelcommons:baseline:{result.metric}": result.baseline for result in told.results},
    }
    files = [{"type": "file", "name": path, "hashes": _hashes(digest)} for path, digest in sorted(scored.files.items())]
    return {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": scored.name,
        "licenses": [{"license": {"name": licence}}],
        "components": files,
        "modelCard": {
            "modelParameters": {"approach": {"type": "supervised"}, "task": task, "datasets": [{"ref": "data"}]},
            "quantitativeAnalysis": {"performanceMetrics": metrics(scored.receipt)},
            "considerations": {"technicalLimitations": list(told.exclusions)},
        },
        "externalReferences": [
            {"type": "attestation", "url": scored.receipt_path, "hashes": _hashes(scored.receipt_sha256)}
        ],
        "properties": _properties(properties),
    }


def _data(data: Work) -> Json:
    contents = {"contents": {"url": data.url}} if data.url else {}
    return {**_work(data, "data", "data"), "data": [{"type": "dataset", "name": data.name, **contents}]}


def _base(base: Work) -> Json:
    return _work(base, "machine-learning-model", "base")


def _work(work: Work, kind: str, ref: str) -> Json:
    told: Json = {"type": kind, "bom-ref": ref, "name": work.name}
    told |= {"version": work.revision} if work.revision else {}
    told |= {"licenses": [{"license": {"name": work.licence}}]} if work.licence else {}
    return told | {"properties": _properties({"modelcommons:tree:sha256": work.sha256})}


def _hashes(sha256: str) -> list[Json]:
    return [{"alg": "SHA-256", "content": sha256}]


def _properties(values: Mapping[str, str]) -> list[Json]:
    return [{"name": name, "value": value} for name, value in values.items()]
