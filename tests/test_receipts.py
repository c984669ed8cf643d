"""receipts from the bottom up: canonical JSON, digests, Merkle proofs, keys, and the signed envelope."""

from __future__ import annotations

import base64
import json
import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import example, given
from hypothesis import strategies as st
from made_up import scored, signed

from modelcommons.errors import Forged, FormatError, NotFound
from modelcommons.formats import digest, keys, merkle, receipt
from modelcommons.formats.canonical import canonical

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53) + 1, 2**53 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]))  # no halves of characters
values = st.recursive(
    st.none() | st.booleans() | numbers | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)
)

# --- canonical JSON -------------------------------------------------------------------------------------------------

# RFC 8785, appendix B: the bits of a double, and how it is written
RFC_8785 = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize(("bits", "text"), RFC_8785.items())
def test_a_number_is_written_as_the_rfc_says(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number).decode() == text


def test_keys_are_sorted_by_utf16_and_characters_escaped_as_the_rfc_says() -> None:
    # RFC 8785, section 3.2.3: by UTF-16 code units, so that U+1F600 (D83D DE00) comes before U+FB33
    keys = {"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
            "\U0001f600": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O"}  # fmt: skip
    assert list(json.loads(canonical(keys))) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert canonical('\u20ac$\u000f\nA\'B"\\\\"/') == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'.encode()


@given(values)
def test_a_value_comes_back_and_equal_values_have_equal_bytes(value: Any) -> None:
    def turned(part: Any) -> Any:  # the same value, its keys the other way round
        if isinstance(part, dict):
            return {key: turned(part[key]) for key in reversed(part)}
        return [turned(each) for each in part] if isinstance(part, list) else part

    raw = canonical(value)
    # whole floats beyond 2^53 are written without exponent, and would come back as integers
    again = json.loads(raw, parse_int=lambda digits: int(digits) if len(digits) < 16 else float(digits))
    assert again == value
    assert canonical(turned(value)) == raw == canonical(again)


@given(values)
@example([1.0, -0.0, 1e-7, 1e16, 1e-6, 0.1, 5e-324, 100.0])
@example([9.99e-6, 1e-5, 1.5e-10, 1e21, 1e15])
@example([1e16])
@example([1e-6, -1.5e-6, 9.99e-6, {"p": 2e-6}, [3.25e-6]])
@example({"a:1e-6,": 1e-6, "b": "[1.5e-6,2e-6]"})
@example(-1e-6)
@example({"small": 1.5e-7})
@example({"1": 1.0})
@example(1.0)
@example({"\U0001f600": 1, "\ufb33": 2})
@example('\x7f\x1f\u2028"\\/')
@example({"id": "1e5 .0, ", "null": {"a": {}, "b": []}})
def test_the_quick_way_writes_what_rfc_8785_says(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


NO_JSON = (float("nan"), float("inf"), [1.0, -float("inf")], 2**53, {1: 2}, {"a": b"b"}, "\ud800", {"a"})


@pytest.mark.parametrize("value", NO_JSON)
def test_what_is_no_json_value_is_refused(value: Any) -> None:
    with pytest.raises(FormatError, match="Expected a JSON value"):
        canonical(value)


# --- digests --------------------------------------------------------------------------------------------------------


def test_a_tree_digest_binds_names_and_sizes_but_not_the_order_of_files(tmp_path: Path) -> None:
    for name, content in {"b.json": "{}", "a/weights": "123", "é.txt": ""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    whole = digest.folder_sha256(tmp_path, ["b.json", "a/weights", "é.txt"])
    assert whole == digest.folder_sha256(tmp_path, ["é.txt", "b.json", "a/weights"])

    listed = [
        {"path": "a/weights", "size": 3, "sha256": digest.sha256(b"123")},
        {"path": "b.json", "size": 2, "sha256": digest.sha256(b"{}")},
        {"path": "é.txt", "size": 0, "sha256": digest.sha256(b"")},
    ]
    assert whole == digest.sha256(canonical(listed))  # receipts.md, by hand

    (tmp_path / "b.json").rename(tmp_path / "c.json")
    others = [["c.json", "a/weights", "é.txt"], ["a/weights", "é.txt"]]
    assert whole not in [digest.folder_sha256(tmp_path, paths) for paths in others]


@given(st.lists(texts), st.lists(texts))
def test_a_digest_of_ids_depends_on_each_id_and_on_their_order(ids: list[str], others: list[str]) -> None:
    assert (digest.ids_sha256(ids) == digest.ids_sha256(others)) == (ids == others)
    assert digest.ids_sha256(["ab", "c"]) != digest.ids_sha256(["a", "bc"])


# --- Merkle trees ---------------------------------------------------------------------------------------------------

# the reference leaves of Certificate Transparency, and the root over the first n of them
LEAVES = [bytes.fromhex(leaf) for leaf in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("count", range(9))
def test_roots_are_those_of_certificate_transparency(count: int) -> None:
    assert merkle.root(map(merkle.leaf, LEAVES[:count])) == ROOTS[count]


@given(st.lists(st.binary(), min_size=1, max_size=40, unique=True), st.data())
def test_a_proof_proves_its_line_and_nothing_else(lines: list[bytes], data: st.DataObject) -> None:
    leaves, count = [merkle.leaf(line) for line in lines], len(lines)
    index, root = data.draw(st.integers(0, count - 1)), merkle.root(leaves)
    line, path = lines[index], merkle.proof(leaves, index)
    assert merkle.proven(line, index, count, path, root)
    assert not merkle.proven(line + b"!", index, count, path, root)
    assert not merkle.proven(line, index, count, [*path, root], root)
    assert not merkle.proven(line, index, count, path, merkle.root([*leaves, leaves[0]]))
    for other in {-1, count, *range(count)} - {index}:
        assert not merkle.proven(line, other, count, path, root)
    for at in range(len(path)):
        assert not merkle.proven(line, index, count, path[:at] + path[at + 1 :], root)
        assert not merkle.proven(line, index, count, [*path[:at], "00" * 32, *path[at + 1 :]], root)


def test_a_node_cannot_pass_as_a_line() -> None:
    leaves = [merkle.leaf(line) for line in LEAVES[:4]]
    below = leaves[0] + leaves[1]
    path = merkle.proof(leaves, 0)[1:]
    assert not merkle.proven(below, 0, 2, path, merkle.root(leaves))


@pytest.mark.parametrize("path", [["zz" * 32], ["ab"], ["é" * 64]])
def test_a_path_of_no_digests_proves_nothing(path: list[str]) -> None:
    assert not merkle.proven(LEAVES[0], 0, 2, path, ROOTS[2])


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_person_gets_one_key_that_only_they_can_read(tmp_path: Path) -> None:
    key = keys.own(tmp_path / "new")
    file = tmp_path / "new/key.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert os.listdir(file.parent) == ["key.pem"]
    written = file.read_bytes()
    assert keys.own(tmp_path / "new").public == key.public and file.read_bytes() == written
    assert keys.own(tmp_path / "other").public != key.public


def test_a_fingerprint_is_short_and_of_the_public_half() -> None:
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")  # RFC 8032, 7.1, test 1
    assert keys.fingerprint(public) == "mc:eh7d-dx5b-ksrg-cytl-7bka-i36s"
    with pytest.raises(Forged):
        keys.check(public, b"\0" * 64, b"")
    keys.check(public, bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2465"
        "5141438e7a100b"
    ), b"")  # fmt: skip


def _ecdsa() -> bytes:
    return generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _locked() -> bytes:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))


@pytest.mark.parametrize("content", [lambda: b"", lambda: b"\xff" * 99, _ecdsa, _locked])
def test_a_file_that_is_no_key_of_ours_is_said_so_and_left_alone(tmp_path: Path, content: Callable[[], bytes]) -> None:
    (tmp_path / "key.pem").write_bytes(raw := content())
    with pytest.raises(FormatError, match=r"Expected .* key in .*key\.pem.* Move it away"):
        keys.own(tmp_path)
    assert (tmp_path / "key.pem").read_bytes() == raw


# --- the signed envelope --------------------------------------------------------------------------------------------


@pytest.fixture
def key(tmp_path: Path) -> keys.Key:
    return keys.own(tmp_path / "key")


@pytest.fixture
def raw(key: keys.Key) -> bytes:
    return signed(scored().main, key)


def envelope_of(payload: bytes, key: keys.Key) -> dict[str, Any]:
    """An envelope that is rightly signed, whatever it holds."""
    sig = base64.b64encode(key.sign(receipt.encoding(payload))).decode()
    signature = {"keyid": keys.fingerprint(key.public), "publicKey": key.public.hex(), "sig": sig}
    packed = base64.b64encode(payload).decode()
    return {"payload": packed, "payloadType": receipt.PAYLOAD, "signatures": [signature]}


def payload_of(raw: bytes) -> bytes:
    return base64.b64decode(json.loads(raw)["payload"])


def test_a_receipt_comes_back_as_it_was_signed(raw: bytes, key: keys.Key, tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_bytes(raw)
    read = receipt.read(tmp_path / "receipt.json")
    assert (read.public, read.fingerprint) == (key.public, keys.fingerprint(key.public))
    assert receipt.sign(read.statement, key) == raw
    assert payload_of(raw) == canonical(json.loads(payload_of(raw)))
    assert read.results["accuracy"].value == "0.9" and read.predicate.predictions.count == 200


def test_what_is_signed_is_the_encoding_of_dsse() -> None:
    # protocol.md of DSSE gives "DSSEv1 29 http://example.com/HelloWorld 11 hello world" for its example
    assert receipt.encoding(b"hello world") == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"


def test_no_byte_of_the_payload_or_the_signature_can_change(raw: bytes) -> None:
    envelope = json.loads(raw)
    sig = envelope["signatures"][0]
    for place, name in ((envelope, "payload"), (sig, "sig")):
        text = place[name]
        whole = bytearray(base64.b64decode(text))
        for at in range(len(whole)):
            whole[at] ^= 1 << at % 8
            place[name] = base64.b64encode(whole).decode()
            with pytest.raises((Forged, FormatError)):
                receipt.parse(json.dumps(envelope).encode())
            whole[at] ^= 1 << at % 8
        place[name] = text
    assert receipt.parse(json.dumps(envelope).encode()) == receipt.parse(raw)


def test_no_byte_of_the_file_can_change_what_is_read(raw: bytes) -> None:
    whole, before = bytearray(raw), receipt.parse(raw)
    for at in range(0, len(whole), 3):
        whole[at] ^= 2
        with suppress(Forged, FormatError):
            assert receipt.parse(bytes(whole)) == before  # white space became other white space
        whole[at] ^= 2
    for size in range(0, len(raw) - 2, 7):
        with pytest.raises(FormatError, match="is no receipt"):
            receipt.parse(raw[:size])


def test_another_key_than_the_one_named_is_forged(raw: bytes, tmp_path: Path) -> None:
    other = keys.own(tmp_path / "other")
    mine, theirs = json.loads(raw), envelope_of(payload_of(raw), other)
    named = theirs | {"signatures": [theirs["signatures"][0] | {"keyid": mine["signatures"][0]["keyid"]}]}
    with pytest.raises(Forged, match=r"names the key mc:.*, but is signed by mc:"):
        receipt.parse(json.dumps(named).encode())
    swapped = mine | {"signatures": [mine["signatures"][0] | {"publicKey": other.public.hex()}]}
    with pytest.raises(Forged, match="edited or forged"):
        receipt.parse(json.dumps(swapped).encode())


HUGE = "x" * 2**20
CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "an unknown key": lambda s: s | {"note": "trust me"},
    "an unknown key inside": lambda s: s["predicate"]["results"][0].update(trusted=True),
    "another predicate": lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"),
    "a verdict of their own": lambda s: s["predicate"].update(verdict="EXCELLENT"),
    "a number that is no decimal": lambda s: s["predicate"]["claim"].update(value="nan"),
    "a count below nothing": lambda s: s["predicate"]["predictions"].update(count=-1),
    "a root that is no digest": lambda s: s["predicate"]["predictions"].update(merkleRoot="ab"),
    "no results": lambda s: s["predicate"].update(results=[]),
    "no subject": lambda s: s.update(subject=[]),
    "two subjects": lambda s: s.update(subject=s["subject"] * 2),
    "a model without digest": lambda s: s["subject"][0].update(digest={}),
    "a model with a digest that is none": lambda s: s["subject"][0].update(digest={"sha256": HUGE}),
    "no object": lambda s: [s],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_statement_we_do_not_know_is_refused_though_rightly_signed(raw: bytes, key: keys.Key, change: str) -> None:
    statement = json.loads(payload_of(raw))
    payload = json.dumps(CHANGES[change](statement) or statement).encode()
    with pytest.raises(FormatError, match=r"is signed but is no evaluation receipt v0\.1") as caught:
        receipt.parse(json.dumps(envelope_of(payload, key)).encode())
    assert len(str(caught.value)) < 300


ENVELOPES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no JSON": lambda e: None,
    "a list": lambda e: [e],
    "two signatures": lambda e: e | {"signatures": e["signatures"] * 2},
    "no signature": lambda e: e | {"signatures": []},
    "a signature of words": lambda e: e | {"signatures": ["sig"]},
    "a key that is no hex": lambda e: e | {"signatures": [e["signatures"][0] | {"publicKey": 7}]},
    "a payload that is no base64": lambda e: e | {"payload": "{}" + e["payload"]},
    "another kind of payload": lambda e: e | {"payloadType": "text/html"},
    "another kind, at length": lambda e: e | {"payloadType": HUGE},
}


@pytest.mark.parametrize("change", ENVELOPES)
def test_an_envelope_we_cannot_read_is_no_receipt(raw: bytes, change: str) -> None:
    changed = ENVELOPES[change](json.loads(raw))
    with pytest.raises(FormatError, match=r"is no receipt|expected application/vnd\.in-toto\+json") as caught:
        receipt.parse(json.dumps(changed).encode() if changed else b"\x00{")
    assert len(str(caught.value)) < 300


def test_a_receipt_that_is_too_large_too_deep_or_not_there_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    with pytest.raises(NotFound, match="Expected a receipt at"):
        receipt.read(file)
    file.write_bytes(b" " * (receipt.LARGEST + 1))
    with pytest.raises(FormatError, match="larger than 4 MiB"):
        receipt.read(file)
    file.write_bytes(b"[" * 100_000)
    with pytest.raises(FormatError, match="is no receipt"):
        receipt.read(file)


@given(st.floats(-1e15, 1e15))
def test_a_decimal_has_ten_digits_and_no_exponent(value: float) -> None:
    text = receipt.decimal(value)
    assert float(text) == pytest.approx(value, rel=1e-9)
    assert "e" not in text and len(text.strip("-0.").replace(".", "")) <= 16


def test_decimals_are_written_as_people_write_them() -> None:
    written = [receipt.decimal(value) for value in (0.9210000000001, 1.0, 100.0, 0.0, 1e-7, 1e20, -2.5)]
    assert written == ["0.921", "1", "100", "0", "0.0000001", "100000000000000000000", "-2.5"]
