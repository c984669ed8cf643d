"""receipt: who evaluated what, on which bytes, how, and what came out; an in-toto statement in a signed DSSE envelope.

Source: receipts.md v0.1; in-toto Statement v1; DSSE v1 (github.com/secure-systems-lab/dsse, protocol.md).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelcommons.errors import Forged, FormatError, NotFound
from modelcommons.formats import keys
from modelcommons.formats.canonical import canonical

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "urn:modelcommons:attestation:evaluation:v0.1"
PAYLOAD = "application/vnd.in-toto+json"
LARGEST = 4 * 2**20  # bytes of a receipt

HEX = r"^[0-9a-f]{64}$"
NUMBER = r"^-?\d+(\.\d+)?$"
BAND = r"^\d+(\.\d+)? to \d+(\.\d+)?$"


class Part(BaseModel):
    """A part of the statement; unknown keys are kept out, so that nothing unsigned can hide in a reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, strict=True)


class Interval(Part):
    method: str
    low: str = Field(pattern=NUMBER)
    high: str = Field(pattern=NUMBER)


class Result(Part):
    """One metric; numbers are decimal strings, counts are integers."""

    metric: str
    direction: Literal["higher", "lower"]
    value: str = Field(pattern=NUMBER)
    num: int | None = None
    den: int | None = None
    ci95: Interval
    baseline: str = Field(pattern=NUMBER)


class Claim(Part):
    metric: str
    value: str = Field(pattern=NUMBER)
    split: str


class Predictions(Part):
    sha256: str = Field(pattern=HEX)
    root: str = Field(alias="merkleRoot", pattern=HEX)
    count: int = Field(ge=0)


class EnergyWh(Part):
    """Electricity, in watt-hours; where nothing could be read, the middle of a wide band."""

    value: str = Field(pattern=NUMBER)
    band: str = Field(pattern=BAND)
    method: str = Field(max_length=80)


class Inputs(Part):
    data: dict[str, Any]
    protocol: dict[str, Any]
    evaluator: dict[str, Any]
    environment: dict[str, Any]


class Predicate(Part):
    relationship: Literal["first-party", "hub", "third-party"]
    claim: Claim
    verdict: Literal["MEASURED", "REPRODUCED_EXACT", "REPRODUCED", "CONTRADICTED", "NOT_COMPARABLE", "FAILED"]
    results: tuple[Result, ...] = Field(min_length=1, strict=False)
    inputs: Inputs
    predictions: Predictions
    exclusions: tuple[str, ...] = Field(strict=False)
    cost: dict[str, Any]
    started: str = Field(alias="startedAt")
    finished: str = Field(alias="finishedAt")


class Subject(Part):
    name: str
    digest: dict[Literal["sha256"], Annotated[str, Field(pattern=HEX)]] = Field(min_length=1)


class Statement(Part):
    kind: Literal["https://in-toto.io/Statement/v1"] = Field("https://in-toto.io/Statement/v1", alias="_type")
    subject: tuple[Subject] = Field(strict=False)
    predicate_type: Literal["urn:modelcommons:attestation:evaluation:v0.1"] = Field(
        "urn:modelcommons:attestation:evaluation:v0.1", alias="predicateType"
    )
    predicate: Predicate


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt whose signature holds."""

    statement: Statement
    public: bytes  # the signer's key, 32 bytes

    @property
    def fingerprint(self) -> str:
        return keys.fingerprint(self.public)

    @property
    def model_sha256(self) -> str:
        return self.statement.subject[0].digest["sha256"]

    @property
    def predicate(self) -> Predicate:
        return self.statement.predicate

    def energy(self, of: Literal["energyWh", "trainingEnergyWh"] = "energyWh") -> EnergyWh | None:
        """Of scoring, or of the training before; None where the receipt does not say, as those before 2026-11-29."""
        try:
            return EnergyWh.model_validate(self.predicate.cost.get(of))
        except ValidationError:  # `cost` is free in form, and no level rests on it
            return None

    @property
    def results(self) -> Mapping[str, Result]:
        return {result.metric: result for result in self.predicate.results}


def decimal(value: float) -> str:
    """A number as receipts write it: 10 significant digits, no exponent."""
    text = format(Decimal(f"{value:.10g}"), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def sign(statement: Statement, key: keys.Key) -> bytes:
    """The envelope's bytes: signed over DSSE's pre-authentication encoding of the statement's canonical JSON."""
    payload = canonical(statement.model_dump(mode="json", by_alias=True, exclude_none=True))
    signature = {
        "keyid": keys.fingerprint(key.public),
        "publicKey": key.public.hex(),
        "sig": base64.b64encode(key.sign(encoding(payload))).decode(),
    }
    envelope = {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD, "signatures": [signature]}
    return json.dumps(envelope, indent=1).encode() + b"\n"


def encoding(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    kind = PAYLOAD.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def read(path: Path) -> Receipt:
    """A receipt from its file, its signature checked over the very bytes that are then read.

    Raises:
        NotFound: no such file.
        FormatError: it is no receipt, or one of a kind we do not know.
        Forged: the signature is wrong, or the key is not the one it names.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise NotFound(f"Expected a receipt at {path}; it cannot be read ({error.strerror}).") from error
    return parse(raw, path.name)


def parse(raw: bytes, name: str = "receipt") -> Receipt:
    """A receipt from its bytes; see `read`."""
    if len(raw) > LARGEST:
        raise FormatError(f"{name} is larger than {LARGEST >> 20} MiB; a receipt is not.")
    try:
        envelope = json.loads(raw)
        (signature,) = envelope["signatures"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        sig, public = base64.b64decode(signature["sig"], validate=True), bytes.fromhex(signature["publicKey"])
        kind, keyid = envelope["payloadType"], signature["keyid"]
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
        raise FormatError(f"{name} is no receipt: expected a DSSE envelope with one signature ({error!r}).") from None
    if kind != PAYLOAD:
        raise FormatError(f"{name} holds {kind!r:.80}, expected {PAYLOAD}.")
    keys.check(public, sig, encoding(payload))
    if keyid != keys.fingerprint(public):
        raise Forged(f"{name} names the key {keyid!s:.80}, but is signed by {keys.fingerprint(public)}: it is forged.")
    try:
        statement = Statement.model_validate(json.loads(payload))
    except (ValidationError, ValueError, RecursionError) as error:
        raise FormatError(f"{name} is signed but is no evaluation receipt v0.1: {_first(error)}.") from None
    return Receipt(statement, public)


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
    return str(error)
