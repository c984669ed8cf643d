"""synthesis: distances as by brute force, phases as by scipy, texts aligned in order, and voices that can be opened."""

from __future__ import annotations

import base64
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from called import Commons
from hypothesis import given, settings
from hypothesis import strategies as st

import modelcommons as mc
from modelcommons.errors import DataError, FormatError, MissingPackage
from modelcommons.workbench import fields
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields.speech import sound
from modelcommons.workbench.fields.speech.features import LogMel
from modelcommons.workbench.fields.speech.options import SynthesisOptions
from modelcommons.workbench.fields.speech.sound import Sound, as_int16
from modelcommons.workbench.fields.speech.speaking import alignment, cepstra, metrics, model, vocoder
from modelcommons.workbench.fields.speech.speaking.architectures import AcousticOptions
from modelcommons.workbench.fields.speech.speaking.nearest import Nearest
from modelcommons.workbench.fields.speech.speaking.open_models import load_open
from modelcommons.workbench.fields.speech.speaking.utterances import Utterance, read_input, spelled
from modelcommons.workbench.fields.speech.transcription.tiny import played, write
from modelcommons.workbench.sources import local
from modelcommons.workbench.task import Choice, Job, Row, Split

TASK: Any = fields.find("text-to-speech")


# --- the distance ---------------------------------------------------------------------------------------------------


def shortest(costs: np.ndarray) -> tuple[float, int]:
    """Least sum over all ways through a table, and its number of cells, by recursion."""
    at = (costs.shape[0] - 1, costs.shape[1] - 1)
    if at == (0, 0):
        return float(costs[0, 0]), 1
    before = [costs[: at[0] + 1 - i, : at[1] + 1 - k] for i, k in ((1, 1), (1, 0), (0, 1)) if at[0] >= i and at[1] >= k]
    total, cells = min(map(shortest, before), key=lambda found: found[0])
    return total + float(costs[at]), cells + 1


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**31))
def test_the_distance_is_that_of_the_best_way_of_all(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(0, 0.5, (size, cepstra.COEFFICIENTS)) for size in (height, width))
    decibels = np.array([[10 / math.log(10) * math.sqrt(2 * ((x - y) ** 2).sum()) for y in b] for x in a])
    total, cells = shortest(decibels)
    assert cepstra.distortion(a, b) == pytest.approx(total / cells)
    assert cepstra.distortion(a, a) == pytest.approx(0, abs=1e-5)
    assert cepstra.distortion(np.repeat(a, 3, axis=0), a) == pytest.approx(0, abs=1e-5), "slower is no other sound"


@pytest.mark.parametrize("order", [1, 5, 13])
def test_a_wave_in_the_spectrum_counts_by_its_root_mean_square(order: int) -> None:
    """Bands that are raised and lowered by up to 6 dB along a cosine differ by 6 / sqrt(2) dB."""
    bands = np.full((4, 40), -3.0)
    wave = np.cos(np.pi * order * (np.arange(40) + 0.5) / 40) * 6 / cepstra.DECIBELS
    far = cepstra.distortion(cepstra.of_bands(bands), cepstra.of_bands(bands + wave))
    assert far == pytest.approx(6 / math.sqrt(2))


def test_loudness_and_what_nobody_hears_do_not_count() -> None:
    rng = np.random.default_rng(0)
    speech = played("abc ca", rng).astype(np.float32)
    whole = cepstra.cepstra(speech, 4_000)
    assert cepstra.distortion(whole, cepstra.cepstra(speech / 7, 4_000)) < 1e-3
    noisy = speech + rng.normal(0, 1e-4, len(speech)).astype(np.float32)
    assert cepstra.distortion(whole, cepstra.cepstra(noisy, 4_000)) < 0.2


@given(st.integers(1, 9), st.integers(0, 2**31))
def test_what_is_stored_of_a_sound_is_what_it_was(length: int, seed: int) -> None:
    found = np.random.default_rng(seed).normal(0, 3, (length, cepstra.COEFFICIENTS))
    np.testing.assert_allclose(cepstra.read(cepstra.written(found)), found, atol=cepstra.STEP / 2 + 1e-9)


def test_what_is_no_answer_of_a_voice_is_refused() -> None:
    good = cepstra.written(np.zeros((2, cepstra.COEFFICIENTS)))
    kept = {"cepstra": good, "seconds": 1.0}
    assert [score.value for score in metrics.scores([{"target": kept, "prediction": kept}])] == [0, 0]
    with pytest.raises(DataError):
        metrics.scores([])
    for broken in ({}, {**kept, "cepstra": "AAAA"}, {**kept, "cepstra": 3}, {**kept, "seconds": 0}, "abc"):
        with pytest.raises(FormatError):
            metrics.scores([{"target": kept, "prediction": broken}])


# --- alignment ------------------------------------------------------------------------------------------------------


def ways(frames: int, characters: int) -> list[tuple[int, ...]]:
    """Every way of the frames through all characters in order."""
    steps = itertools.product((0, 1), repeat=frames - 1)
    found = [tuple(np.cumsum((0, *each)).tolist()) for each in steps if sum(each) == characters - 1]
    return found


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31))
def test_the_alignment_is_the_best_of_all_and_does_not_depend_on_padding(a: int, b: int, seed: int) -> None:
    frames, characters = max(a, b), min(a, b)
    energies = np.random.default_rng(seed).normal(0, 1, (2, frames + 2, characters + 1))
    found = alignment.monotonic(energies, np.array([frames, frames + 2]), np.array([characters, characters + 1]))
    for row, (length, size) in enumerate(((frames, characters), (frames + 2, characters + 1))):
        totals = {way: sum(energies[row, at, which] for at, which in enumerate(way)) for way in ways(length, size)}
        best = max(totals, key=lambda way: totals[way])
        assert found[row].tolist() == np.bincount(best, minlength=characters + 1).tolist()


def test_the_forward_sum_is_over_all_ways() -> None:
    """With a blank that is never likely, what is left is the sum over the monotonic ways."""
    import torch

    energies = torch.from_numpy(np.random.default_rng(0).normal(20, 1, (1, 5, 3)).astype(np.float32))
    shares = energies[0].softmax(1).numpy()
    total = sum(math.prod(float(shares[at, which]) for at, which in enumerate(way)) for way in ways(5, 3))
    found = alignment.forward_sum(energies, torch.tensor([5]), torch.tensor([3]))
    assert float(found) == pytest.approx(-math.log(total) / 3, rel=1e-4)


def test_characters_that_sound_alike_everywhere_are_found_in_short_texts() -> None:
    """Silence, three notes, silence, 16 frames each; which they are is told by nothing but other texts."""
    import torch

    from modelcommons.workbench.fields.speech.speaking.acoustic import Acoustic

    torch.manual_seed(0)
    rng, sounds = np.random.default_rng(0), np.random.default_rng(1).normal(0, 1, (7, 8)).astype(np.float32)
    sounds[1] = -4.0
    network = Acoustic(AcousticOptions(mels=8, width=24, encoder=1, decoder=1, phonetic=True), 6, 0)
    optimizer = torch.optim.AdamW(network.parameters(), 0.01)

    def drawn() -> tuple[Any, ...]:
        labels = np.array([[1, *rng.permutation(np.arange(2, 7))[:3], 1] for _ in range(4)])
        heard = np.repeat(sounds[labels], 16, axis=1) + rng.normal(0, 0.1, (4, 80, 8))
        prior = np.repeat(alignment.prior(80, 5)[None], 4, axis=0)
        made = torch.from_numpy(labels), torch.zeros(4, dtype=torch.long), torch.from_numpy(heard).float()
        return *made, torch.full((4,), 80), torch.from_numpy(prior)

    for _ in range(60):
        spoken, timed, aligned = network.losses(drawn())  # over 320 frames, 20 characters, 4 texts
        (spoken / 320 + timed / 20 + aligned / 4).backward()
        optimizer.step()
        optimizer.zero_grad()
    labels, _, heard, frames, prior = drawn()
    energies = network.energies(labels, heard, prior).detach().double().numpy()
    found = alignment.monotonic(energies, frames.numpy(), np.full(4, 5))
    assert (np.abs(found - 16) <= 1).mean() > 0.8


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 12))
def test_the_prior_is_the_beta_binomial(frames: int, characters: int) -> None:
    from scipy.stats import betabinom

    at = np.arange(1, frames + 1)[:, None]
    wanted = betabinom.logpmf(np.arange(characters), characters - 1, at, frames - at + 1)
    np.testing.assert_allclose(alignment.prior(frames, characters), wanted, atol=1e-4)


def test_a_text_sounds_the_same_beside_longer_ones() -> None:
    import torch

    from modelcommons.workbench.fields.speech.speaking.acoustic import Acoustic

    torch.manual_seed(0)
    network = Acoustic(AcousticOptions(mels=12, width=16), 5, 2).eval()
    labels, speakers = torch.tensor([[1, 2, 3, 4, 5], [2, 5, 0, 0, 0]]), torch.tensor([0, 1])
    durations = torch.tensor([[2, 3, 1, 2, 4], [3, 2, 0, 0, 0]])
    with torch.inference_mode():
        x_BWL, lengths, _ = network.encoded(labels, speakers)
        together, inside = network.decoded(x_BWL, durations)
        alone, length, _ = network.encoded(labels[1:, :2], speakers[1:])
        frames, _ = network.decoded(alone, durations[1:, :2])
    assert inside.sum(1).tolist() == [12, 5]
    np.testing.assert_allclose(together[1, :5], frames[0], atol=1e-5)
    np.testing.assert_allclose(lengths[1, :2], length[0], atol=1e-5)


# --- the wave -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "mels"), [(8_000, 40), (16_000, 80)])
def test_the_bands_are_those_of_the_transformers_library(rate: int, mels: int) -> None:
    from transformers.audio_utils import mel_filter_bank

    logmel = LogMel(rate, mels, 50, 12.5)
    wanted = mel_filter_bank(logmel.size // 2 + 1, mels, 0.0, rate / 2, rate, norm=None, mel_scale="htk")
    np.testing.assert_allclose(logmel.filters, wanted, atol=1e-4)


def test_windows_laid_over_each_other_are_those_of_scipy() -> None:
    """Of frames that are no transform of any wave too, where the nearest wave is asked for."""
    from scipy.signal import ShortTimeFFT

    logmel, rng = LogMel(4_000, 16, 32, 8), np.random.default_rng(0)
    samples = rng.normal(0, 1, logmel.window + 20 * logmel.hop)
    frames = vocoder.analysed(logmel, samples)
    middle = slice(logmel.window, -logmel.window)
    np.testing.assert_allclose(vocoder.synthesised(logmel, frames)[middle], samples[middle], atol=1e-9)
    frames = frames * np.exp(1j * rng.random(frames.shape))
    scipys = ShortTimeFFT(logmel.hann.astype(float), logmel.hop, 1, mfft=logmel.size, phase_shift=None)
    wide = np.zeros((logmel.size // 2 + 1, scipys.p_num(len(samples))), complex)
    first = -scipys.p_min - (-(logmel.window // 2) // logmel.hop)
    wide[:, first : first + len(frames)] = frames.T
    wanted = scipys.istft(wide, k1=len(samples))
    np.testing.assert_allclose(vocoder.synthesised(logmel, frames)[middle], wanted[middle], atol=1e-9)


def test_a_wave_made_of_frames_has_these_frames_and_is_the_same_each_time() -> None:
    logmel = LogMel(4_000, 32, 32, 8)
    frames = logmel.features(played("abc ca", np.random.default_rng(0)).astype(np.float32))
    bands = vocoder.spectrum(logmel, frames)
    assert (bands >= 0).all() and np.abs(np.log(bands @ logmel.filters) - frames).mean() < 0.1
    far = {}
    for rounds in (1, 30):
        made = vocoder.wave(logmel, frames, rounds)
        again = logmel.features(made)
        far[rounds] = cepstra.distortion(cepstra.of_bands(frames), cepstra.of_bands(again))
        assert np.array_equal(made, vocoder.wave(logmel, frames, rounds)) and len(again) == len(frames)
    assert far[30] < 0.7 * far[1]


# --- rows -----------------------------------------------------------------------------------------------------------


def rows_of(folder: Path) -> Any:
    found = TASK.rows(local.find(folder, "notes"), {}, SynthesisOptions())
    return TASK.split(found, Split(), SynthesisOptions())


def test_the_layout_of_lj_speech_is_read(tmp_path: Path) -> None:
    write(tmp_path / "made")
    (tmp_path / "made" / "wav").rename(tmp_path / "wavs")
    lines = ['000|He said "aa|He said "aa', "001|No. 2, b|number two, b", "002", "003|c", "004|gone, not here|gone", ""]
    (tmp_path / "wavs" / "004.wav").unlink()
    (tmp_path / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "made" / "notes.csv").unlink()
    found = TASK.rows(local.find(tmp_path, "lj"), {}, SynthesisOptions())
    rows = list(found.parts["all"])
    assert [row.x.text for row in rows] == ['He said "aa', "number two, b", "c"]
    assert rows[0].id.startswith("metadata.csv:1#") and rows[0].y.rate_hz == 4_000
    assert (found.num_read, found.num_bad) == (5, 2) and found.bad[0].where == "metadata.csv:3"


def test_a_layout_without_a_line_that_can_be_read_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "made")
    (tmp_path / "made" / "wav").rename(tmp_path / "wavs")
    (tmp_path / "metadata.csv").write_text("000|a|b|c|d\n", encoding="utf-8")
    (tmp_path / "made" / "notes.csv").unlink()
    with pytest.raises(DataError, match=r"lines of name\|text"):
        TASK.rows(local.find(tmp_path, "lj"), {}, SynthesisOptions())


def test_the_real_sample_is_read(real: Any) -> None:
    found = TASK.rows(local.find(real("samples/ljspeech_small"), "lj"), {"text": "text_normalized"}, SynthesisOptions())
    row = found.parts["test"][0]
    assert (
        row.x.speaker == "LJ" and row.y.rate_hz == 16_000 and spelled(row.x.text, False).strip() == row.x.text.lower()
    )


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("from a file\n")
    assert [row.x.text for path in (tmp_path / "a.txt", str(tmp_path / "a.txt")) for row in read_input(path)] == [
        "from a file\n"
    ] * 2
    with pytest.raises(DataError, match="Expected a text file"):
        read_input(tmp_path / "gone.txt")
    rows = read_input(["Two words", {"text": "one", "speaker": "anna"}])
    assert [row.x for row in rows] == [Utterance("Two words"), Utterance("one", "anna")]
    for wrong in (3, "", " ?! ", {"speaker": "anna"}, {"text": "a", "speaker": 1}, "a" * 2_001):
        with pytest.raises(DataError, match="Expected a text"):
            read_input(wrong)
    assert spelled("  Don’t\nSTOP! ", False) == " don't stop! " and spelled("No", True) == " No "


def test_a_recording_of_minutes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long.wav").write_bytes(sound.wav(Sound(np.ones(61 * 4_000, np.int16), 4_000)))
    (tmp_path / "rows.csv").write_text("audio,text\nlong.wav,very long\n")
    with pytest.raises(DataError, match=r"at most 60 seconds, got one of 61. Cut them into sentences"):
        TASK.rows(local.find(tmp_path, "long"), {}, SynthesisOptions())


def test_the_floor_is_the_nearest_text_of_the_same_speaker(tmp_path: Path) -> None:
    write(tmp_path)
    parts = rows_of(tmp_path)
    floor = Nearest(parts.train)
    for row in (parts.train[3], parts.train[4]):
        said = floor.say(row.x)
        same = [other for other in parts.train if other.x == row.x]
        assert np.array_equal(said.samples, same[0].y.samples)


# --- voices ---------------------------------------------------------------------------------------------------------


def job(place: Path, choice: Choice, **rest: Any) -> Job:
    (place / "model").mkdir(parents=True, exist_ok=True)
    training = Training(batch_size=8, checkpoint_seconds=0)
    return Job(
        choice, training, SynthesisOptions(), 0, place / "model", place / "checkpoints", mc.Silent(), **rest
    )  # fmt: skip


SMALL = {"mels": 12, "window_ms": 32, "hop_ms": 16, "width": 16, "encoder": 1, "decoder": 1, "iterations": 2}


def test_a_training_that_was_stopped_comes_to_the_same_bits(tmp_path: Path) -> None:
    write(tmp_path)
    parts, choice = rows_of(tmp_path), Choice(None, "acoustic", SMALL)
    TASK.fit(parts.train, parts.validation, job(tmp_path / "whole", choice, max_steps=3))
    TASK.fit(parts.train, parts.validation, job(tmp_path / "twice", choice, max_steps=2))
    TASK.fit(parts.train, parts.validation, job(tmp_path / "twice", choice, max_steps=3))
    whole, twice = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "twice"))
    assert whole == twice
    voice = model.load(tmp_path / "whole" / "model")
    with pytest.raises(DataError, match=r"There is no speaker 'nobody' in this voice. Speakers: high, low"):
        voice.predict([Row("a", Utterance("abc", "nobody"))])
    strange = voice.predict([Row("a", Utterance("abc", speaker), parts.test[0].y) for speaker in ("nobody", "high")])
    assert strange[0] == strange[1], "a row of the data is said by the first voice"
    with pytest.raises(DataError, match=r"letters of this voice, abc; it has also 7 x é"):
        voice.predict([Row("a", Utterance("abc 7xé!"))])
    known, also = voice.predict([Row("a", Utterance(text), parts.test[0].y) for text in ("abc!", "abcx!")])
    assert known == also, "a row of the data is said as far as it goes"
    assert [
        voice.predict([Row("a", Utterance("abc", speaker))])[0]["prediction"]["wav"] for speaker in ("", "high", "low")
    ].count(voice.predict([Row("a", Utterance("abc", "high"))])[0]["prediction"]["wav"]) == 2


def open_voice(folder: Path, **rest: Any) -> Path:
    """A VITS with random weights whose letters are a, b and c."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    config = tf.VitsConfig(
        vocab_size=5, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16, flow_size=8,
        spectrogram_bins=9, prior_encoder_num_flows=1, prior_encoder_num_wavenet_layers=1,
        posterior_encoder_num_wavenet_layers=1, duration_predictor_num_flows=1, duration_predictor_filter_channels=16,
        depth_separable_num_layers=1, upsample_initial_channel=16, upsample_rates=[8, 8],
        upsample_kernel_sizes=[16, 16], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]],
        sampling_rate=8_000, **rest,
    )  # fmt: skip
    tf.VitsModel(config).save_pretrained(folder)
    names = {"<pad>": 0, "a": 1, "b": 2, "c": 3, " ": 4}
    (folder / "vocab.json").write_text(json.dumps(names))
    tf.VitsTokenizer(str(folder / "vocab.json"), pad_token="<pad>", unk_token="<pad>", phonemize=False).save_pretrained(
        folder
    )
    return folder


def test_an_open_voice_is_taken_as_it_is_and_compared_at_the_rate_of_the_data(tmp_path: Path) -> None:
    write(tmp_path / "data")
    parts = rows_of(tmp_path / "data")
    folder = open_voice(tmp_path / "open", num_speakers=2, speaker_embedding_size=4)
    fitted = TASK.fit(parts.train, parts.validation, job(tmp_path, Choice(folder, "vits")))
    assert (fitted.steps, fitted.trained_parameters) == (0, 0) and fitted.value > 0
    voice = model.load(tmp_path / "model")
    assert (voice.rate_hz, model.load(folder).rate_hz) == (4_000, 8_000)
    row = Row("a", Utterance("abc ab", "1"), parts.test[0].y)
    first, second = voice.predict([row, row])
    assert first == second and voice.predict([Row("a", Utterance("abc ab", "0"), row.y)]) != [first]
    assert {"vocab.json", "tokenizer_config.json"} <= set(model.files(tmp_path / "model"))
    with pytest.raises(DataError, match=r"no speaker '7' in this voice. Speakers: 0, 1"):
        voice.predict([Row("a", Utterance("abc", "7"))])
    with pytest.raises(DataError, match=r"letters of this voice, abc; it has also D d"):
        voice.predict([Row("a", Utterance("ABC, Dd", "0"))])
    explainer = TASK.explainer(tmp_path / "model")
    attribution = explainer.attribute(row)
    assert attribution.names == ("abc ", "ab") and (attribution.weights >= 0).all()


def speech_t5(folder: Path, texts: list[str]) -> Path:
    """A SpeechT5 with random weights that reads the letters of these texts; its vocoder lies in `waves` beside it."""
    import sentencepiece
    import torch
    import transformers as tf

    torch.manual_seed(0)
    folder.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=str(folder / "letters"), vocab_size=20, model_type="char",
        hard_vocab_limit=False, bos_id=0, pad_id=1, eos_id=2, unk_id=3, minloglevel=2,
    )  # fmt: skip
    tokenizer = tf.SpeechT5Tokenizer(str(folder / "letters.model"))
    tokenizer.save_pretrained(folder)
    for name in ("letters.model", "letters.vocab"):
        (folder / name).unlink()
    sizes = {f"{side}_{what}": value for side in ("encoder", "decoder")
             for what, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))}  # fmt: skip
    config = tf.SpeechT5Config(
        vocab_size=len(tokenizer), hidden_size=16, num_mel_bins=8, speech_decoder_prenet_units=8,
        speech_decoder_postnet_units=8, speech_decoder_postnet_layers=2, speaker_embedding_dim=4,
        max_text_positions=40, max_speech_positions=48, **sizes,
    )  # fmt: skip
    vocoder = tf.SpeechT5HifiGanConfig(
        model_in_dim=8, sampling_rate=8_000, upsample_initial_channel=8, upsample_rates=[4, 8],
        upsample_kernel_sizes=[8, 16], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]],
    )  # fmt: skip
    network, waves = tf.SpeechT5ForTextToSpeech(config), tf.SpeechT5HifiGan(vocoder)
    for weight in (*network.parameters(), *waves.parameters()):
        torch.nn.init.normal_(weight, 0, 0.3)  # so that what it says is no silence, and takes more than a frame
    torch.nn.init.constant_(network.speech_decoder_postnet.prob_out.bias, -9.0)
    network.save_pretrained(folder)
    waves.save_pretrained(folder.parent / "waves")
    return folder


def test_a_voice_of_speech_t5_is_kept_with_its_vocoder_and_its_speakers(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    write(tmp_path / "data")
    parts, folder = rows_of(tmp_path / "data"), speech_t5(tmp_path / "open", ["abc", "cab a"])
    vectors = {name: np.eye(4, dtype=np.float32)[at] for at, name in enumerate(("low", "high"))}
    save_file(vectors, tmp_path / "voices.safetensors")
    np.save(tmp_path / "low.npy", vectors["low"][None])
    asked: dict[str, Any] = {"vocoder": str(tmp_path / "waves")}
    options = [
        asked,
        {**asked, "voices": str(tmp_path / "voices.safetensors")},
        {**asked, "voices": str(tmp_path / "low.npy")},
    ]
    voices = []
    for number, each in enumerate(options):
        one = replace(job(tmp_path / str(number), Choice(folder, "speecht5")), options=SynthesisOptions(**each))
        fitted = TASK.fit(parts.train, parts.validation.take(np.arange(2)), one)
        assert (fitted.steps, fitted.trained_parameters) == (0, 0) and fitted.value > 0
        voices.append(model.load(one.folder))
    nobody, both, low = voices
    assert [voice.speaks.speakers for voice in voices] == [(), ("high", "low"), ("low",)] and both.rate_hz == 4_000

    def said(voice: Any, text: str, speaker: str = "") -> Any:
        return voice.predict([Row("a", Utterance(text, speaker))])[0]["prediction"]

    assert said(both, "abc", "low") == said(low, "abc") == said(low, "abc") != said(both, "abc", "high")
    assert said(nobody, "abc") not in (said(low, "abc"), said(both, "abc"))
    assert said(low, "a")["seconds"] < said(low, "ab ca")["seconds"] <= 48 * 2 * 32 / 8_000, "no longer than it can be"
    assert {"spm_char.model", "vocoder/model.safetensors", "voices.safetensors"} <= set(
        model.files(tmp_path / "1/model")
    )
    with pytest.raises(DataError, match=r"letters of this voice, abc; it has also d é"):
        said(low, "abcdé!")
    with pytest.raises(DataError, match=r"no speaker 'low' in this voice. It has one, without a name"):
        said(nobody, "abc", "low")
    with pytest.raises(DataError, match="at most 40 tokens for this voice, got 62"):
        said(low, "a" * 60)
    assert TASK.explainer(tmp_path / "0/model").attribute(parts.test[0]).names


def test_a_voice_of_speech_t5_without_its_parts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = speech_t5(tmp_path / "open", ["abc"])
    config = {"model_type": "speecht5"}
    with pytest.raises(FormatError, match=r"Expected the vocoder of a SpeechT5 voice in .*/open/vocoder, found none"):
        model.load(folder)
    np.save(tmp_path / "short.npy", np.zeros(3))
    for path, words in (("short.npy", "Expected 4 finite numbers for 'short'"), ("gone.npy", "got something else")):
        with pytest.raises(FormatError, match=words):
            load_open(folder, config, tmp_path / "waves", tmp_path / path)
    with pytest.raises(FormatError, match="has neither vocoder nor voices"):
        load_open(folder, {"model_type": "vits"}, tmp_path / "waves")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"spm_char.model, needs 'sentencepiece'. Install it"):
        load_open(folder, config, tmp_path / "waves")


def test_voices_of_other_kinds_are_refused(tmp_path: Path) -> None:
    folder = open_voice(tmp_path / "open")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "phonemize": True}))
    with pytest.raises(FormatError, match="reads phonemes"):
        model.load(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(FormatError, match="Expected a voice of the kind vits"):
        model.load(folder)


def test_predict_writes_what_it_says_as_files(commons: Commons, tmp_path: Path) -> None:
    write(tmp_path / "data")
    parts = rows_of(tmp_path / "data")
    TASK.fit(parts.train, parts.validation, job(Path("run"), Choice(None, "acoustic", SMALL), max_steps=1))
    told = commons("predict", "run", "abc ca", "bb", "--out", "said")
    answers = [json.loads(line)["prediction"] for line in told.out.splitlines()]
    assert [answer["wav"] for answer in answers] == ["said/1.wav", "said/2.wav"]
    heard = sound.read(Path("said/1.wav"))
    assert heard.rate_hz == 4_000 and heard.seconds == pytest.approx(answers[0]["seconds"])
    plain = json.loads(commons("predict", "run", "abc ca").out)["prediction"]["wav"]
    assert base64.b64decode(plain) == Path("said/1.wav").read_bytes()
    assert sound.wav(Sound(as_int16(np.zeros(9)), 8_000))[:4] == b"RIFF"
