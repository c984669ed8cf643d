"""recognition: errors are counted as by jiwer, beams find what enumeration finds, streams say what the whole says."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelcommons as mc
from modelcommons.errors import DataError, FormatError, UsageError
from modelcommons.formats.model_folder import WEIGHTS, write_config
from modelcommons.workbench import fields
from modelcommons.workbench.engine.quantize import session
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields.speech import augment, rows
from modelcommons.workbench.fields.speech.features import Features, LogMel
from modelcommons.workbench.fields.speech.options import RecognitionOptions
from modelcommons.workbench.fields.speech.sound import Sound, as_int16
from modelcommons.workbench.fields.speech.transcription import metrics, model
from modelcommons.workbench.fields.speech.transcription.alphabet import Alphabet, plain
from modelcommons.workbench.fields.speech.transcription.architectures import CtcOptions
from modelcommons.workbench.fields.speech.transcription.decoding import beam, greedy
from modelcommons.workbench.fields.speech.transcription.splicing import Splicer, pieces
from modelcommons.workbench.fields.speech.transcription.tiny import played, write
from modelcommons.workbench.sources import local
from modelcommons.workbench.task import Choice, Job, Row, Split

WORDS = st.lists(st.text("abcé ", min_size=1, max_size=6).map(str.strip).filter(bool), min_size=1, max_size=6)


def line(said: str, heard: str) -> dict[str, Any]:
    return {"id": said, "target": said, "prediction": {"text": heard}}


# --- scores ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.tuples(WORDS.map(" ".join), st.one_of(st.just(""), WORDS.map(" ".join))), min_size=1, max_size=4))
def test_error_rates_are_those_of_jiwer(pairs: list[tuple[str, str]]) -> None:
    import jiwer

    said, heard = (
        list(column) for column in zip(*((" ".join(a.split()), " ".join(b.split())) for a, b in pairs), strict=True)
    )
    wer, cer, right = metrics.scores([line(a, b) for a, b in zip(said, heard, strict=True)])
    assert wer.value == pytest.approx(jiwer.wer(said, heard))
    assert cer.value == pytest.approx(jiwer.cer(said, heard))
    assert right.value == sum(a == b for a, b in zip(said, heard, strict=True)) / len(said)


def test_what_is_no_answer_of_a_recogniser_is_refused() -> None:
    with pytest.raises(DataError):
        metrics.scores([])
    for broken in ({"target": "a"}, {"target": "a", "prediction": "b"}, line("a", 3)):  # type: ignore[arg-type]
        with pytest.raises(FormatError):
            metrics.scores([broken])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Don’t  STOP, please!", "don't stop please"),
        ("‘Quoted’ words -- e.g. 'these'", "quoted words e g these"),
        ("Ｗｉｄｅ 你好。", "wide 你好"),
        ("...", ""),
    ],
)
def test_texts_are_plain(written: str, said: str) -> None:
    assert plain(written) == said


# --- decoding -------------------------------------------------------------------------------------------------------


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label)


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 2**31))
def test_a_wide_beam_finds_the_text_that_is_most_probable_over_all_alignments(
    frames: int, size: int, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(0, 1.5, (frames, size))
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    totals: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(size), repeat=frames):
        text = collapsed(path)
        totals[text] = totals.get(text, 0.0) + math.exp(log_probs[np.arange(frames), path].sum())
    first, second = sorted(totals.values(), reverse=True)[:2]
    found = beam(log_probs, 10_000)
    assert totals[found.labels] == pytest.approx(first)
    assert found.margin == pytest.approx(math.log(first / second), abs=1e-6)
    assert greedy(log_probs).labels == collapsed(tuple(log_probs.argmax(1).tolist()))


def test_a_beam_sees_that_many_ways_outweigh_the_best_one() -> None:
    """Graves et al. (2006), figure 2: the best frame by frame is the empty text, the most probable text is not."""
    log_probs = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert greedy(log_probs).labels == () and beam(log_probs, 2).labels == (1,)


@settings(max_examples=20)
@given(st.integers(2, 5), st.integers(2, 4), st.integers(0, 2**31))
def test_what_is_explained_is_the_probability_over_all_alignments(frames: int, size: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 1.5, (2, frames, size))
    log_probs = logits - np.log(np.exp(logits).sum(2, keepdims=True))
    labels = beam(log_probs[0], 100).labels
    heard = model.Recogniser(Alphabet("abcd"[: size - 1]), 4_000, lambda sounds: list(log_probs), 100)
    text, found = heard.weighed([Sound(np.zeros(frames, np.int16), 4_000)] * 2)
    assert text == heard.alphabet.decode(labels)
    for one, log_prob in zip(log_probs, found.tolist(), strict=True):
        ways = [path for path in itertools.product(range(size), repeat=frames) if collapsed(path) == labels]
        total = sum(math.exp(one[np.arange(frames), path].sum()) for path in ways)
        assert log_prob == pytest.approx(math.log(total) / max(1, len(labels)))


# --- training recordings --------------------------------------------------------------------------------------------


def clips(texts: list[str], voices: list[str]) -> rows.Clips:
    """Words of tones as long as their text says, tenths of a second, with pauses between them."""
    made = []
    for number, text in enumerate(texts):
        tones = [np.full(int(word) * 400, 1_000 + number, np.int16) for word in text.split()]
        made.append(np.concatenate([part for tone in tones for part in (tone, np.zeros(400, np.int16))][:-1]))
    return rows.Clips(
        np.concatenate(made), np.cumsum([0, *map(len, made)]), 4_000, texts, list(map(str, range(len(texts)))), voices
    )


def test_pauses_divide_a_recording_into_its_words() -> None:
    some = clips(["1 3 2", "2 1"], ["a", "a"])
    assert [(piece.end - piece.start, piece.text) for piece in pieces(0, some.sound(0).samples, 4_000, "1 3 2")] == [
        (400, "1"), (1_200, "3"), (800, "2"),
    ]  # fmt: skip
    (whole,) = pieces(0, some.sound(0).samples, 4_000, "1 3")
    assert (whole.start, whole.end, whole.text) == (0, len(some.sound(0).samples), "1 3")


@given(st.integers(0, 2**31))
def test_spliced_recordings_say_words_of_one_voice_and_not_more(seed: int) -> None:
    some = clips(["1 3 2", "2 1", "4", "3 3 3 1"], ["a", "b", "b", "a"])
    made = Splicer(some)
    for row, (levels, most) in enumerate([((0, 3), 3), ((1, 2), 2), ((1, 2), 1), ((0, 3), 4)]):
        samples, text = made.spliced(row, 4_000, np.random.default_rng(seed))
        assert 1 <= len(text.split()) <= most
        heard = np.round(samples * 32_768).astype(int)
        assert set(heard.tolist()) <= {0, *(1_000 + level for level in levels)}
        assert (heard > 0).sum() == sum(map(int, text.split())) * 400


def test_noise_is_as_far_below_the_recording_as_is_said() -> None:
    tone = np.sin(np.arange(8_001) / 3).astype(np.float32)
    ratios = []
    for seed in range(60):
        noise = augment.noisy(tone, np.random.default_rng(seed)) - tone
        if noise.any():
            ratios.append(10 * math.log10(float((tone**2).mean() / (noise**2).mean())))
    low, high = augment.RATIOS_DB
    assert 15 < len(ratios) < 45 and low - 0.1 <= min(ratios) < low + 8 and high - 8 < max(ratios) <= high + 0.1


# --- networks -------------------------------------------------------------------------------------------------------


OPTIONS: dict[str, Any] = {"mels": 16, "width": 24, "layers": 4}


def network(streaming: bool) -> tuple[Any, Features]:
    import torch

    from modelcommons.workbench.fields.speech.transcription.ctc import Ctc

    torch.manual_seed(1)
    made = Ctc(CtcOptions(streaming=streaming, **OPTIONS), 5).eval()
    return made, Features(LogMel(4_000, 16), np.full(16, -6, np.float32), np.full(16, 3, np.float32))


def saved(folder: Path, streaming: bool) -> Any:
    """The same as a model folder; gives back the network."""
    from safetensors.torch import save_file

    made, features = network(streaming)
    save_file(made.state_dict(), folder / WEIGHTS)
    write_config(
        folder, "automatic-speech-recognition", "ctc", {"streaming": streaming, **OPTIONS}, alphabet="abc ",
        preprocess=features.written(),
    )  # fmt: skip
    return made


def sounds() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [played(text, rng).astype(np.float32) for text in ("a", "abc ca", "cab b", "bb aaa cc")]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_recording_is_heard_the_same_beside_longer_ones(streaming: bool) -> None:
    emit = model.own_emissions(*network(streaming))
    for alone, together in zip((emit([sound])[0] for sound in sounds()), emit(sounds()), strict=True):
        np.testing.assert_allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize("chunk", [37, 400, 1_000, 100_000])
def test_what_is_heard_bit_by_bit_is_what_is_heard_at_once(chunk: int) -> None:
    made, features = network(streaming=True)
    listener = model.Listener(Alphabet("abc "), features, made, width=1)
    for sound in sounds():
        (once,) = model.own_emissions(made, features)([sound])
        np.testing.assert_allclose(np.concatenate(list(listener.heard(sound, chunk))), once, atol=1e-5)
        row = Row("a", Sound(as_int16(sound), 4_000))
        said = "".join(listener.stream(row))
        assert " ".join(said.split()) == listener.predict([row])[0]["prediction"]["text"]


def test_a_model_folder_writes_while_it_listens_if_it_can(tmp_path: Path) -> None:
    saved(tmp_path, streaming=True)
    heard = {"array": sounds()[1], "sampling_rate": 4_000}
    parts = list(mc.load(tmp_path).stream(heard))
    assert len(parts) > 1 and "".join(parts)
    saved(tmp_path, streaming=False)
    with pytest.raises(UsageError, match="come whole"):
        list(mc.load(tmp_path).stream(heard))


@pytest.mark.parametrize("streaming", [False, True])
def test_an_export_hears_recordings_of_any_length(streaming: bool, tmp_path: Path) -> None:
    import torch

    made = saved(tmp_path, streaming)
    fields.find("automatic-speech-recognition").export(tmp_path, tmp_path / "model.onnx")  # type: ignore[attr-defined]
    opened = session(tmp_path / "model.onnx")
    for lengths in ([100, 61], [301, 3], [40]):
        features, frames = torch.randn(len(lengths), max(lengths), 16), torch.tensor(lengths)
        found = opened.run({"features": features.numpy(), "lengths": frames.numpy()})
        for one, expected in zip(found, made(features, frames), strict=True):
            np.testing.assert_allclose(one, expected.detach().numpy(), atol=1e-5)
    rows = [Row(str(at), Sound(as_int16(sound), 4_000)) for at, sound in enumerate(sounds())]
    texts = [
        [answer["prediction"] for answer in model.load(tmp_path, name).predict(rows)] for name in ("", "model.onnx")
    ]
    assert texts[0] == texts[1]


# --- whole runs -----------------------------------------------------------------------------------------------------


def parts(folder: Path) -> Any:
    task = fields.find("automatic-speech-recognition")
    write(folder)
    found = task.rows(local.find(folder, "notes"), {}, RecognitionOptions())
    return task, task.split(found, Split(), RecognitionOptions())


def test_a_row_without_words_is_bad(tmp_path: Path) -> None:
    write(tmp_path)
    with (tmp_path / "notes.csv").open("a") as file:
        file.write("wav/000.wav,?!,low\nwav/001.wav,,low\n")
    found = rows.read(local.find(tmp_path, "notes"), {}, "auto", "text")
    assert found.num_bad == 2 and {bad.reason for bad in found.bad} == {"no text"}


def open_model(folder: Path, words: str) -> Path:
    """A Wav2Vec2 with random weights; with a vocabulary of `words` where there are any."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    config = tf.Wav2Vec2Config(
        vocab_size=len(words) + 3, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_kernel=(10, 4), conv_stride=(5, 4), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    tf.Wav2Vec2ForCTC(config).save_pretrained(folder)
    tf.Wav2Vec2FeatureExtractor(sampling_rate=4_000).save_pretrained(folder)
    if words:
        names = ["<pad>", "|", *words, "<unk>"]
        (folder / "vocab.json").write_text(str({name: at for at, name in enumerate(names)}).replace("'", '"'))
        tf.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("words", "characters"), [("CBA", " cba"), ("", " abc")])
def test_an_open_model_keeps_its_characters_or_gets_those_of_the_texts(
    words: str, characters: str, tmp_path: Path
) -> None:
    task, some = parts(tmp_path / "data")
    folder, place = open_model(tmp_path / "open", words), tmp_path / "model"
    place.mkdir()
    job = Job(
        Choice(folder, "wav2vec2"), Training(batch_size=4), RecognitionOptions(), 0, place, tmp_path / "checkpoints",
        mc.Silent(), max_steps=2,
    )  # fmt: skip
    assert task.fit(some.train, some.validation, job).value >= 0
    loaded = model.load(place)
    assert loaded.alphabet.characters == characters
    assert set(loaded.predict([some.test[0]])[0]["prediction"]["text"]) <= set(characters)
    assert {"vocab.json", "preprocessor_config.json"} <= set(model.files(place))
    task.export(place, place / "model.onnx")
    exported = model.load(place, "model.onnx")
    for row in list(some.test)[:3]:
        assert exported.predict([row])[0]["prediction"] == loaded.predict([row])[0]["prediction"]


def whisper(folder: Path) -> Path:
    """A Whisper with random weights, whose tokens are bytes."""
    import torch
    import transformers as tf
    from tokenizers.pre_tokenizers import ByteLevel

    torch.manual_seed(0)
    special = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    vocabulary = {name: at for at, name in enumerate(["<|endoftext|>", *sorted(ByteLevel.alphabet()), *special])}
    tokenizer = tf.WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    config = tf.WhisperConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=16, max_source_positions=50,
        max_target_positions=24, decoder_start_token_id=257, eos_token_id=0, pad_token_id=0, bos_token_id=0,
    )  # fmt: skip
    tf.WhisperForConditionalGeneration(config).save_pretrained(folder)
    tf.WhisperFeatureExtractor(feature_size=16, chunk_length=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_that_writes_token_by_token_learns_to_write_the_texts(tmp_path: Path) -> None:
    """Of random weights little is to be heard, so it learns one text by heart."""
    from modelcommons.workbench.fields.speech.transcription.writers import Writer

    task, some = parts(tmp_path / "data")
    place = tmp_path / "model"
    place.mkdir()
    only, few = (part.said(lambda text: "ab c").take(np.arange(4)) for part in (some.train, some.validation))
    job = Job(
        Choice(whisper(tmp_path / "open"), "whisper"), Training(batch_size=4, learning_rate=0.03, epochs=30),
        RecognitionOptions(augment="none"), 0, place, tmp_path / "checkpoints", mc.Silent(), max_steps=30,
    )  # fmt: skip
    assert task.fit(only, few, job).value == 0
    loaded = model.load(place)
    assert isinstance(loaded, Writer)
    assert [answer["prediction"]["text"] for answer in loaded.predict(list(some.test)[:2])] == ["ab c"] * 2
    assert {"tokenizer.json", "preprocessor_config.json"} <= set(model.files(place))
    text, log_probs = loaded.weighed([some.test[0].x, Sound(np.zeros(4_000, np.int16), 4_000)])
    assert text == "ab c" and (log_probs <= 0).all() and log_probs[0] > math.log(0.3)
    with pytest.raises(UsageError, match="no export"):
        task.export(place, place / "model.onnx")
