"""safetensors: a file whose header does not agree with it is refused, and a pickle is never opened."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import load, save

from modelcommons.errors import FormatError, UnsafeFile
from modelcommons.formats import model_folder
from modelcommons.formats.safetensors import LARGEST_HEADER, PICKLES, check, is_pickle, parse, refuse_pickles

WEIGHTS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(5, np.int8), "none": np.zeros((0, 4))}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(save(WEIGHTS, metadata={"format": "pt"}))
    return path


def built(header: Any, size: int = 0) -> bytes:
    """A file of a header (JSON, or what is written in its place) and so many bytes of data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(size)


def tensor(start: int, end: int, shape: list[Any] | None = None, dtype: str = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - start] if shape is None else shape, "data_offsets": [start, end]}


def test_a_whole_file_is_read_as_it_was_written(file: Path) -> None:
    header = check(file)
    assert {name: tensor.shape for name, tensor in header.tensors.items()} == {"a": (2, 3), "b": (5,), "none": (0, 4)}
    assert (header.tensors["a"].dtype, header.metadata, header.num_parameters) == ("F32", {"format": "pt"}, 11)


def test_every_cut_is_noticed_with_its_numbers(file: Path) -> None:
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(FormatError, match=r"is cut off|is no safetensors file"):
            check(file)
    file.write_bytes(whole + b"\0")
    with pytest.raises(
        FormatError, match=rf"bytes after its end: .* promises {len(whole):,} bytes, .* has {len(whole) + 1:,}"
    ):
        check(file)


WRONG: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "is no safetensors file"),
    "no header": (b"\0" * 100, "is no safetensors file"),
    "a web page": (b"<!DOCTYPE html><html>" * 9, "is no safetensors file"),
    "a pointer of git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "is no safetensors file"),
    "a header bomb": ((2**63).to_bytes(8, "little") + b"{" * 100, f"at most {LARGEST_HEADER:,} bytes, it claims"),
    "a header as long as memory": ((2**40).to_bytes(8, "little") + b"{" * 100, "it claims 1,099,511,627,776"),
    "a header longer than the file": ((1000).to_bytes(8, "little") + b"{}", "needs 1,008 bytes, the file has 10"),
    "a deep header": (built(b'{"a":' * 100_000), "the header is not JSON"),
    "a header that is no JSON": (built(b"{'a': 1}"), "the header is not JSON"),
    "a header that is no UTF-8": (built(b'{"\xff": 1}'), "the header is not JSON"),
    "a name twice": (built(b'{"a": 1, "a": 2}'), "names a tensor twice"),
    "a key twice": (built(b'{"a": {"dtype": "U8", "dtype": "F32"}}'), "names a tensor twice"),
    "an overlap": (built({"a": tensor(0, 8), "b": tensor(4, 12)}, 12), "'b' overlaps the one before it"),
    "the same bytes twice": (built({"a": tensor(0, 8), "b": tensor(0, 8)}, 8), "'b' overlaps the one before it"),
    "a gap": (built({"a": tensor(0, 4), "b": tensor(8, 12)}, 12), "'b' leaves a gap before it"),
    "a late start": (built({"a": tensor(4, 8)}, 8), "'a' leaves a gap before it"),
    "offsets beyond the end": (built({"a": tensor(0, 2**50)}, 8), "is cut off"),
    "offsets the wrong way": (built({"a": tensor(8, 0, [8])}, 8), "its offsets give -8"),
    "an offset below nothing": (built({"a": tensor(-8, 0, [8])}, 8), "tensor 'a'"),
    "a shape of other size": (built({"a": tensor(0, 8, [3])}, 8), r"shape \[3\] needs 3 bytes, its offsets give 8"),
    "a shape that overflows": (built({"a": tensor(0, 0, [2**63, 2**63])}), "its offsets give 0"),
    "a shape below nothing": (built({"a": tensor(0, 4, [-2, -2])}, 4), "expected a shape"),
    "a shape of words": (built({"a": tensor(0, 4, ["4"])}, 4), "expected a shape"),
    "a shape of truth": (built({"a": tensor(0, 1, [True])}, 1), "expected a shape"),
    "very many dimensions": (built({"a": tensor(0, 1, [1] * 1000)}, 1), "expected a shape of at most 32"),
    "no shape": (built({"a": {"dtype": "U8", "data_offsets": [0, 1]}}, 1), "dtype, shape and two data_offsets"),
    "one offset": (built({"a": tensor(0, 1) | {"data_offsets": [0]}}, 1), "dtype, shape and two data_offsets"),
    "an unknown key": (built({"a": tensor(0, 1) | {"code": "x"}}, 1), "dtype, shape and two data_offsets"),
    "an unknown format": (built({"a": tensor(0, 1, dtype="PICKLE")}, 1), "'PICKLE' is no number format of safetensors"),
    "half a byte": (built({"a": tensor(0, 1, [3], "F4")}, 1), "tensor 'a'"),
    "metadata of numbers": (built({"__metadata__": {"a": 1}}), "expected words in the header's __metadata__"),
    "metadata that are a list": (built({"__metadata__": []}), "expected words in the header's __metadata__"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_header_that_lies_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    content, words = WRONG[name]
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(FormatError, match=words) as caught:
        check(tmp_path / "model.safetensors")
    assert "model.safetensors" in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("header", [b"[]", b"1", b"null", b'"x"'])
def test_a_header_that_is_no_object_is_refused_where_it_is_read_alone(header: bytes) -> None:
    with pytest.raises(FormatError, match="JSON object"):
        parse(header, "model.safetensors", 8 + len(header))


@given(st.data())
def test_what_we_let_through_loads(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """The checks are at least as strict as the library's: one byte of a good file changed anywhere in its header."""
    raw = bytearray(save(WEIGHTS))
    at = data.draw(st.integers(0, len(raw) - 30))
    raw[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("one") / "model.safetensors"
    path.write_bytes(raw)
    try:
        check(path)
    except FormatError:
        return
    try:
        load(bytes(raw))
    except SafetensorError as error:
        pytest.fail(f"let through, and does not load: {error}")


# --- pickles --------------------------------------------------------------------------------------------------------


class Trap:
    """What unpickling would run."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sign,)


def archive(name: str, content: bytes) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as packed:
        packed.writestr(name, content)
    return raw.getvalue()


def torch_file(trap: Trap, new: bool) -> bytes:
    raw = io.BytesIO()
    torch.save({"weights": torch.zeros(2), "trap": trap}, raw, _use_new_zipfile_serialization=new)
    return raw.getvalue()


TRAPS: dict[str, Callable[[Trap], bytes]] = {
    **{f"protocol {number}": lambda trap, number=number: pickle.dumps(trap, number) for number in range(6)},  # type: ignore[misc]
    "of torch": lambda trap: torch_file(trap, new=True),
    "of old torch": lambda trap: torch_file(trap, new=False),
    "a zip that cannot be listed": lambda trap: archive("a/data.pkl", pickle.dumps(trap))[:-30],
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_pickle_under_the_name_of_safetensors_is_refused_and_never_loaded(tmp_path: Path, name: str) -> None:
    sign = tmp_path / "ran"
    path = tmp_path / "model.safetensors"
    path.write_bytes(TRAPS[name](Trap(sign)))
    assert is_pickle(path)
    with pytest.raises(UnsafeFile, match=r"model\.safetensors is a pickle under the name of safetensors.*save_file"):
        check(path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnsafeFile):
        model_folder.check_weights(tmp_path)
    assert not sign.exists()


def test_an_old_pickle_that_begins_with_harmless_values_is_no_safetensors_file_either(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps([1, ["{" * 9, Trap(tmp_path / "ran")]], 0))
    with pytest.raises(FormatError):
        check(path)
    assert not (tmp_path / "ran").exists()


def test_the_traps_are_real(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "ran"), 0))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", PICKLES)
def test_weights_that_are_only_a_pickle_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "sub").mkdir()
    path = tmp_path / f"sub/weights{suffix.upper()}"
    path.write_bytes(b"whatever")
    with pytest.raises(UnsafeFile, match=f"sub/weights{suffix.upper()} is a pickle"):
        refuse_pickles(tmp_path)
    with pytest.raises(UnsafeFile):
        model_folder.check_weights(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(save(WEIGHTS))
    refuse_pickles(tmp_path)  # beside safetensors it is never opened


def test_a_pickle_under_a_harmless_name_is_refused_even_beside_weights(tmp_path: Path, file: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt", "data", "onnx/model.onnx"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps(Trap(tmp_path / "ran"), 0))
        with pytest.raises(UnsafeFile, match=f"{name} holds a pickle under a harmless name"):
            refuse_pickles(tmp_path)
        path.unlink()
    assert not (tmp_path / "ran").exists()


def test_harmless_files_pass(tmp_path: Path, file: Path) -> None:
    harmless = {
        "config.json": b'{"model_type": "bert"}', "vocab.txt": b"[PAD]\n[UNK]\ncos\nsystem\nthe\n", "empty": b"",
        "merges.txt": b"#version: 0.2\ni n\nt h\n", "words.txt": b"cos\nsystem\nthe\n", "picture.png": b"\x89PNG\r\n",
        "samples.zip": archive("a.txt", b"text"), "model.onnx": b"\x08\x08\x12\x07pytorch",
    }  # fmt: skip
    for name, content in harmless.items():
        (tmp_path / name).write_bytes(content)
    refuse_pickles(tmp_path)


def test_a_header_that_begins_like_a_pickle_is_still_safetensors(tmp_path: Path) -> None:
    header = json.dumps({"a": tensor(0, 4)}).encode()
    raw = built(header.ljust(0x0280), 4)  # the length's first bytes are 80 02, as of a pickle of protocol 2
    assert raw[:2] == b"\x80\x02"
    (tmp_path / "model.safetensors").write_bytes(raw)
    assert check(tmp_path / "model.safetensors").tensors["a"].shape == (4,)


def test_missing_weights_and_configs_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"There is no model\.safetensors in"):
        model_folder.check_weights(tmp_path)
    for content in (None, b"", b"[]", b"{}", b'{"model_type": 1}', b"[" * 100_000, b"\xff"):
        if content is not None:
            (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(FormatError, match=r"Expected the config of a model in .*config\.json"):
            model_folder.read_config(tmp_path)


def test_labels_are_numbered_from_nothing(tmp_path: Path) -> None:
    model_folder.write_config(
        tmp_path, "text-classification", "bag", {"width": 4}, id2label=model_folder.id2label(["x", "中"])
    )
    config = model_folder.read_config(tmp_path)
    assert config["model_type"] == "modelcommons" and model_folder.labels(config, tmp_path) == ["x", "中"]
    for wrong in (
        {},
        {"id2label": {"1": "x"}},
        {"id2label": {"0": "x", "2": "y"}},
        {"id2label": None},
        {"id2label": 3},
    ):
        with pytest.raises(FormatError, match=r"expected labels 0, 1, \.\.\. in id2label"):
            model_folder.labels(wrong, tmp_path)
