"""speech: recordings are read whole or refused, features are those of others, open models are tuned and shipped."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import modelcommons as mc
from modelcommons.errors import CommonsError, DataError
from modelcommons.workbench import fields
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields.speech import augment, disturb, rows
from modelcommons.workbench.fields.speech.classifier import Classifier, Window, load
from modelcommons.workbench.fields.speech.explain import Explainer
from modelcommons.workbench.fields.speech.features import LogMel
from modelcommons.workbench.fields.speech.options import ClassificationOptions
from modelcommons.workbench.fields.speech.sound import Sound, read, resampled
from modelcommons.workbench.fields.speech.tiny import write
from modelcommons.workbench.sources import local
from modelcommons.workbench.task import Choice, Job, Row, Split


def wave(seconds: float = 0.3, rate_hz: int = 8_000, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def encoded(samples: np.ndarray, rate_hz: int = 8_000, format: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=format)
    return file.getvalue()


# --- sound ----------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.sampled_from([8_000, 12_000, 16_000, 22_050]), st.sampled_from([16, 40, 80]), st.integers(0, 2**31))
def test_log_mel_features_are_those_of_transformers(rate_hz: int, mels: int, seed: int) -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    ours = LogMel(rate_hz, mels)
    samples = np.random.default_rng(seed).normal(0, 0.1, rate_hz // 5).astype(np.float32)
    filters = mel_filter_bank(ours.size // 2 + 1, mels, 0.0, rate_hz / 2, rate_hz, norm=None, mel_scale="htk")
    theirs = spectrogram(
        samples, window_function(ours.window, "hann"), ours.window, ours.hop, ours.size, power=2.0, center=False,
        mel_filters=filters, mel_floor=1e-7, log_mel="log",
    )  # fmt: skip
    found = ours.features(samples)
    assert found.shape == (ours.frames(len(samples)), mels)
    np.testing.assert_allclose(ours.filters, filters, atol=1e-5)
    np.testing.assert_allclose(found, theirs.T, atol=2e-3)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG"])
def test_every_format_gives_the_same_sound(format: str) -> None:
    sound = read(encoded(wave(), format=format))
    assert sound.rate_hz == 8_000 and sound.samples.dtype == np.int16
    np.testing.assert_allclose(sound.samples / 32_768, wave(), atol=0.05 if format == "OGG" else 1e-4)


def test_channels_are_averaged() -> None:
    assert not read(encoded(np.stack([wave(), -wave()], axis=1))).samples.any()


def test_arrays_are_read_as_datasets_hands_them_out() -> None:
    given = {"array": wave(), "sampling_rate": 8_000}
    assert np.abs(read(given).samples - read(encoded(wave())).samples).max() <= 1
    for wrong in ({"array": wave()}, {**given, "array": np.stack([wave()] * 2)}, {**given, "array": wave() * np.nan}):
        with pytest.raises(DataError):
            read(wrong)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"no sound", "got other bytes"),
        (b"", "got other bytes"),
        (encoded(wave(), format="FLAC")[:-600], "got"),
        (encoded(np.zeros(0, np.float32)), "at most 600 seconds"),
        (encoded(np.zeros(1_000 * 601, np.float32), 1_000, "FLAC"), "got 601"),
        (encoded(wave(), format="AIFF"), "got AIFF"),
    ],
)
def test_what_is_no_whole_recording_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(raw)


@pytest.mark.parametrize("to_hz", [4_000, 11_025, 16_000])
def test_a_tone_is_the_same_tone_at_another_rate(to_hz: int) -> None:
    there = resampled(wave(1.0), 8_000, to_hz)
    assert there.dtype == np.float32 and len(there) == to_hz
    inner = slice(to_hz // 10, -to_hz // 10)  # the filter rings at the ends
    np.testing.assert_allclose(there[inner], wave(1.0, to_hz)[inner], atol=0.01)


@pytest.mark.parametrize(("name", "hertz"), [("slower", 396.0), ("faster", 484.0)])
def test_another_speed_is_another_pitch(name: str, hertz: float) -> None:
    tone = Sound((wave(1.0) * 32_767).astype(np.int16), 8_000)
    other = disturb.disturb(tone, name, "a")
    assert len(other.samples) == pytest.approx(8_000 * 440 / hertz, abs=1)
    loudest = np.abs(np.fft.rfft(other.samples)).argmax() * 8_000 / len(other.samples)
    assert loudest == pytest.approx(hertz, abs=1.5)


# --- rows -----------------------------------------------------------------------------------------------------------


def table(folder: Path, speakers: int = 4) -> Path:
    """A table of paths beside its recordings, a voice each for its speaker."""
    lines = ["file,label,speaker"]
    for number in range(24):
        soundfile.write(folder / f"{number}.wav", wave(hertz=300 + 10 * number), 8_000)
        lines.append(f"{number}.wav,{('yes', 'no')[number % 2]},s{number % speakers}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder


def reading(folder: Path) -> Any:
    return rows.read(local.find(folder, "data"), {}, "auto", "label")


def test_a_table_of_paths_is_read_with_its_speakers(tmp_path: Path) -> None:
    found = reading(table(tmp_path))
    clips = found.parts["all"]
    assert len(clips) == 24 and clips[0].group == "s0" and clips[1].y == "no"
    assert [column.role for column in found.columns] == ["audio", "label", "group"]
    before = list(clips.ids())
    soundfile.write(tmp_path / "3.wav", wave(hertz=999), 8_000)
    assert [a == b for a, b in zip(before, reading(tmp_path).parts["all"].ids(), strict=True)].count(False) == 1


def test_no_speaker_is_in_train_and_test(tmp_path: Path) -> None:
    task = fields.find("audio-classification")
    found = reading(table(tmp_path, speakers=12))
    parts = task.split(found, Split(by="group", test=0.3, validation=0.3), ClassificationOptions())
    groups = [{part[at].group for at in range(len(part))} for part in (parts.train, parts.validation, parts.test)]
    assert groups[0] and groups[2] and not groups[0] & groups[2] and not groups[0] & groups[1]


def test_a_path_that_leads_out_is_a_bad_row(tmp_path: Path) -> None:
    inside = tmp_path / "data"
    inside.mkdir()
    (table(inside) / "24.wav").symlink_to(tmp_path / "secret.wav")
    soundfile.write(tmp_path / "secret.wav", wave(), 8_000)
    with (inside / "table.csv").open("a") as file:
        file.write("../secret.wav,yes,s0\n24.wav,yes,s0\n25.wav,yes,s0\n")
    found = reading(inside)
    assert found.num_bad == 3 and len(found.parts["all"]) == 24
    assert all("path inside the data's folder" in bad.reason for bad in found.bad[:2])


def test_many_recordings_come_from_the_cache_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    soundfile.write(tmp_path / "rise" / "99.wav", wave(0.1, 6_000), 6_000)
    (tmp_path / "rise" / "98.wav").write_bytes(b"broken")
    plain = reading(tmp_path)
    monkeypatch.setattr(rows, "IN_MEMORY", 0)
    for _ in range(2):
        cached = reading(tmp_path)
        assert cached.bad == plain.bad and cached.num_bad == 1
        for a, b in zip(plain.parts["all"], cached.parts["all"], strict=True):
            assert a.id == b.id and a.y == b.y and (a.x.samples == b.x.samples).all()


# --- varying, answering, explaining ---------------------------------------------------------------------------------


def test_varied_recordings_depend_on_the_generator_alone() -> None:
    one, two = (np.random.default_rng(3) for _ in range(2))
    for vary in (augment.sped, augment.louder):
        assert (vary(wave(), one) == vary(wave(), two)).all()
    faster = [len(augment.sped(wave(), one)) / len(wave()) for _ in range(200)]
    assert 1 / 1.16 < min(faster) < 0.9 and 1.1 < max(faster) < 1 / 0.84
    features = np.ones((8, 50, 40), np.float32)
    gone = (augment.masked(features, one) == 0).mean((1, 2))
    assert (features == 1).all() and 0 < gone.mean() < 0.65 and gone.max() <= 1 - 0.6**2


def test_a_window_holds_a_short_recording_amid_silence_and_the_middle_of_a_long_one() -> None:
    window, ones = Window(10, 6), np.ones(2, np.float32)
    assert window.placed(ones, 0.5).tolist() == [0, 0, 1, 1, 0, 0] and window.placed(ones, 1.0).tolist()[-2:] == [1, 1]
    assert window.placed(np.arange(10, dtype=np.float32), 0.5).tolist() == [2, 3, 4, 5, 6, 7]


def test_the_moment_that_decides_is_named() -> None:
    def loud_end(samples: np.ndarray) -> np.ndarray:
        heard = np.abs(samples[:, -800:]).mean(1)
        return np.stack([heard * 20, np.zeros(len(heard))], axis=1)

    model = Classifier(["loud <b>", "soft"], Window(8_000, 8_000), lambda samples: samples, loud_end)
    row = Row("a", Sound((wave(1.0) * 20_000).astype(np.int16), 8_000))
    explainer = Explainer(model.weighed)
    found = explainer.attribute(row)
    assert set(np.argsort(-found.weights)[:2].tolist()) == {18, 19} and found.names[18] == "0.90 s"
    kept, gone = explainer.strength(row, [np.array([0, 1]), np.array([18, 19])])
    assert kept > 0.9 and gone == pytest.approx(0.5)
    assert "<b>" not in explainer.show(row, found)


# --- open models ----------------------------------------------------------------------------------------------------


def open_model(name: str, folder: Path) -> Path:
    """A model of the transformers library with random weights."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    small: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    small |= {"intermediate_size": 16}
    if name == "wav2vec2":
        config = tf.Wav2Vec2Config(
            **small, conv_dim=(8, 8), conv_kernel=(10, 4), conv_stride=(5, 4), num_feat_extract_layers=2,
            num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, classifier_proj_size=8,
        )  # fmt: skip
        tf.Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
        tf.Wav2Vec2FeatureExtractor(sampling_rate=8_000).save_pretrained(folder)
    else:
        tf.ASTForAudioClassification(tf.ASTConfig(**small, max_length=40, num_mel_bins=32)).save_pretrained(folder)
        tf.ASTFeatureExtractor(sampling_rate=8_000, max_length=40, num_mel_bins=32).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("name", "method"), [("wav2vec2", "full"), ("ast", "head")])
def test_an_open_model_is_tuned_and_loads_again(name: str, method: Any, tmp_path: Path) -> None:
    task = fields.find("audio-classification")
    write(tmp_path / "data")
    found = rows.read(local.find(tmp_path / "data", "data"), {}, "auto", "label")
    parts = task.split(found, Split(), ClassificationOptions())
    folder = open_model(name, tmp_path / "open")
    digests = []
    for place in (tmp_path / "one", tmp_path / "two"):
        (place / "model").mkdir(parents=True)
        job = Job(
            Choice(folder, name), Training(method=method, batch_size=4), ClassificationOptions(), 0, place / "model",
            place / "checkpoints", mc.Silent(), max_steps=2,
        )  # fmt: skip
        task.fit(parts.train, parts.validation, job)
        digests.append((place / "model" / "model.safetensors").read_bytes())
    assert digests[0] == digests[1]
    model = load(tmp_path / "one" / "model")
    assert model.labels == ["fall", "rise", "stay"] and model.window.rate_hz == 8_000
    answer = model.predict([parts.test[0]])[0]
    assert answer["prediction"]["label"] in model.labels


def test_a_folder_of_no_audio_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "id2label": {"0": "a", "1": "b"}}')
    with pytest.raises(CommonsError):
        load(tmp_path)


def test_real_recordings_are_read_with_their_words_and_speakers(real: Callable[[str], Path]) -> None:
    found = rows.read(local.find(real("samples") / "fsdd", "fsdd"), {}, "auto", "label")
    row = found.parts["test"][0]
    assert row.y in ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    assert row.x.rate_hz == 8_000 and 0.1 < row.x.seconds < 3 and row.group and not found.num_bad
