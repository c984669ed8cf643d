"""speech-enhancement: SI-SDR by another way, windows that add up, a row's own noise, masks heard bit by bit."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import modelcommons as mc
from modelcommons.cli import sounds
from modelcommons.errors import DataError, FormatError
from modelcommons.workbench import fields
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields.speech.denoising import fitting, metrics
from modelcommons.workbench.fields.speech.denoising.architectures import TcnOptions
from modelcommons.workbench.fields.speech.denoising.fitting import distortion, synthesized
from modelcommons.workbench.fields.speech.denoising.model import Enhancer, Listener, Scale, load, torch_run
from modelcommons.workbench.fields.speech.denoising.network import Tcn
from modelcommons.workbench.fields.speech.denoising.noise import KINDS, Kind, mixed, noise
from modelcommons.workbench.fields.speech.denoising.spectrum import Stft
from modelcommons.workbench.fields.speech.denoising.subtraction import Subtraction, Unchanged, floor
from modelcommons.workbench.fields.speech.sound import FULL, Sound, as_int16
from modelcommons.workbench.sources import local
from modelcommons.workbench.task import Choice, Job, Line, Parts, Row, Split

RATE = 4_000
TASK: Any = fields.find("speech-enhancement")


def voice(seconds: float = 0.5, hertz: float = 300.0, seed: int = 0) -> np.ndarray:
    """A tone that comes and goes, int16 (N,)."""
    time = np.arange(int(seconds * RATE)) / RATE
    rng = np.random.default_rng(seed)
    return as_int16(
        0.3 * np.sin(2 * np.pi * hertz * time) * (np.sin(40 * time) > 0) + 0.001 * rng.normal(size=len(time))
    )


# --- scores ---------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.floats(-30, 50), st.floats(0.05, 1))
def test_si_sdr_is_that_of_the_paper(seed: int, ratio_db: float, loud: float) -> None:
    """Le Roux et al. write it as norms of a projection and of what is left; ours has neither."""
    rng = np.random.default_rng(seed)
    clean, rest = rng.normal(0, 3_000, (2, 400))
    found = np.round(loud * (clean + rest * 10 ** (-ratio_db / 20)))
    s, ours = np.round(clean).astype(np.int16), np.clip(found, -32_768, 32_767).astype(np.int16)
    target = (ours @ s.astype(float)) / (s @ s.astype(float)) * s
    theirs = 20 * np.log10(np.linalg.norm(target) / np.linalg.norm(ours - target))
    assert metrics.si_sdr(ours, s) == pytest.approx(theirs, rel=1e-4, abs=1e-4)


def test_a_louder_copy_is_as_good_and_silence_is_worst() -> None:
    clean = voice()
    assert metrics.si_sdr(clean, clean) == metrics.si_sdr(clean // 2 * 2, clean // 2) == metrics.MOST_DB
    assert metrics.si_sdr(np.zeros_like(clean), clean) == metrics.si_sdr(-clean, clean) == -metrics.MOST_DB


def line(before: float, after: float, speaker: str, number: int) -> Line:
    target = {"recording": f"{number}", "speaker": speaker, "noise": "white", "snr_db": 0, "si_sdr": before}
    return {"id": f"{number}", "target": target, "prediction": {"samples": 1, "sha256": "", "si_sdr": after}}


def test_scores_are_means_over_rows_and_speakers_are_drawn() -> None:
    lines = [line(0.0, 5.0 + number, "ab"[number % 2], number) for number in range(6)] + [line(3.0, 1.0, "a", 9)]
    gained, after, improved = metrics.scores(lines)
    assert gained.value == pytest.approx((45 - 2) / 7) and after.value == pytest.approx(46 / 7)
    assert improved.value == pytest.approx(6 / 7) and "speakers" in gained.method
    assert gained.low == pytest.approx((5 + 7 + 9 - 2) / 4) and gained.high == pytest.approx(8)
    with pytest.raises(FormatError, match="si_sdr"):
        metrics.scores([{**lines[0], "prediction": {"si_sdr": float("nan")}}])


def test_another_sound_is_noticed() -> None:
    first = {"samples": 8, "sha256": "a", "levels_db": [-20.0] * 8, "si_sdr": 7.0}
    stored = {"prediction": first}
    for change, same in (
        ({"si_sdr": 7.02}, True), ({"si_sdr": 7.1}, False), ({"levels_db": [-20.0] * 7 + [-21.0]}, False),
        ({"levels_db": [-20.01] * 8}, True), ({"samples": 9}, False),
    ):  # fmt: skip
        fresh = {"prediction": {**first, "sha256": "b", **change}}
        assert metrics.agrees(stored, fresh, 0.0) is same


# --- spectra --------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(4, 40), st.integers(1, 40), st.integers(1, 300), st.integers(0, 2**31))
def test_windows_add_up_to_the_samples(half: int, hop: int, num_samples: int, seed: int) -> None:
    stft = Stft(2 * half, min(hop, half))
    samples = np.random.default_rng(seed).normal(0, 0.1, num_samples).astype(np.float32)
    spectrum = stft.analysed(samples)
    assert spectrum.shape == (stft.frames(num_samples), stft.bins)
    np.testing.assert_allclose(stft.synthesized(spectrum, num_samples), samples, atol=1e-6)
    again = synthesized(stft, torch.from_numpy(spectrum)[None], num_samples)[0]
    np.testing.assert_allclose(again.numpy(), samples, atol=1e-6)


def test_the_spectrum_is_that_of_torch() -> None:
    stft, samples = Stft(64, 16), voice()[:160].astype(np.float32) / np.float32(FULL)
    padded = torch.from_numpy(np.pad(samples, (48, 48)))
    theirs = torch.stft(padded, 64, 16, window=torch.from_numpy(stft.root), center=False, return_complex=True).T
    np.testing.assert_allclose(stft.analysed(samples), theirs.numpy()[: stft.frames(160)], atol=1e-4)


def test_the_loss_is_si_sdr() -> None:
    clean = voice()
    noisy = mixed(clean, np.random.default_rng(0).normal(size=len(clean)), 5.0)
    a, b = (torch.from_numpy(each / np.float32(FULL))[None] for each in (noisy, clean))
    assert -float(distortion(a, b)) == pytest.approx(metrics.si_sdr(noisy, clean), abs=0.1)


# --- noise ----------------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.sampled_from(KINDS), st.floats(-10, 20), st.integers(0, 2**31))
def test_a_mixture_has_the_ratio_asked_for(kind: Kind, snr_db: float, seed: int) -> None:
    clean, rng = voice(), np.random.default_rng(seed)
    made = noise(kind, len(clean), RATE, lambda rng: voice(0.2, rng.uniform(200, 900)) / FULL, rng)
    found = mixed(clean, made, snr_db).astype(float)
    scale = np.linalg.lstsq(np.stack([clean / FULL, made], 1), found, rcond=None)[0]
    voiced, rest = scale[0] * clean / FULL, scale[1] * made
    assert 10 * np.log10((voiced @ voiced) / (rest @ rest)) == pytest.approx(snr_db, abs=0.2)


def folder_of(folder: Path, speakers: int = 3, each: int = 6) -> Path:
    lines = ["audio,speaker"]
    for number in range(speakers * each):
        soundfile.write(folder / f"{number}.wav", voice(0.3, 200 + 17 * number, number), RATE)
        lines.append(f"{number}.wav,s{number % speakers}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder


def parts_of(folder: Path, columns: dict[str, str] | None = None, **options: Any) -> Parts:
    chosen = TASK.options(**options)
    reading = TASK.rows(local.find(folder, "data"), columns or {}, chosen)
    return TASK.split(reading, Split(validation=0.3, test=0.3), chosen)


def test_held_out_rows_are_each_recording_in_each_noise_and_always_the_same(tmp_path: Path) -> None:
    folder_of(tmp_path)
    first, again = parts_of(tmp_path), parts_of(tmp_path)
    assert len(first.test) == len(set(first.test.ids()))
    assert {first.test[at].y.noise for at in range(len(KINDS))} == set(KINDS)
    for at in reversed(range(len(first.test))):
        assert first.test[at].x.content() == again.test[at].x.content()
        assert first.test[at].id == list(first.test.ids())[at]
    assert len({first.train[at].id for at in range(len(first.train))}) == len(first.train)
    assert first.test.take(np.array([3]))[0].x.content() == first.test[3].x.content()
    assert first.how.endswith("of the test's 3 speakers also in train")


def test_babble_is_of_other_voices_of_the_same_part(tmp_path: Path) -> None:
    """What is left out of the training rows (a duplicate, a leak) is in no babble of training either."""
    train: Any = parts_of(folder_of(tmp_path), noises=["babble"]).train
    left, sound, drawn = train.take(np.arange(2, len(train))), train._part.sound, []
    groups = [train[at].group for at in range(len(train))]
    left.piece(0, 400, np.random.default_rng(0))
    train._part.sound = lambda at: drawn.append(at) or sound(at)
    for at in range(len(left)):
        drawn.clear()
        left.piece(at, 400, np.random.default_rng(at))
        assert drawn[0] == at + 2 and min(drawn) >= 2
        assert groups[at + 2] not in {groups[other] for other in drawn[1:]}


def test_pairs_that_were_recorded_are_taken_as_they_are(tmp_path: Path) -> None:
    rng, lines = np.random.default_rng(0), ["clean,worse,speaker"]
    for number in range(20):
        clean = voice(0.3, 200 + 17 * number, number)
        made = mixed(clean, rng.normal(size=len(clean)), 10.0)
        soundfile.write(tmp_path / f"{number}.wav", clean if number != 7 else clean * 0, RATE)
        soundfile.write(tmp_path / f"n{number}.wav", made[: -1 if number == 3 else None], RATE)
        lines.append(f"{number}.wav,n{number}.wav,s{number % 4}")
    (tmp_path / "table.csv").write_text("\n".join([*lines, "20.wav,n20.wav,s0"]) + "\n")
    chosen = TASK.options()
    reading = TASK.rows(local.find(tmp_path, "data"), {"audio": "clean", "noisy": "worse"}, chosen)
    assert reading.num_bad == 3 and reading.num_read == 21
    assert {column.role for column in reading.columns} == {"audio", "noisy", "group"}
    assert any("same length" in bad.reason for bad in reading.bad) and any(
        "silence" in bad.reason for bad in reading.bad
    )
    parts = TASK.split(reading, Split(validation=0.3, test=0.3), chosen)
    row = parts.test[0]
    assert row.y.noise == "recorded" and row.y.snr_db == 10 and TASK.slice(row, "snr") == "10 dB"
    assert row.id.count("#") == 2 and next(iter(parts.test.ids())) == row.id, "files of both kinds are in the id"
    noisy, clean = parts.train.piece(0, 3_000, rng)
    assert noisy.shape == clean.shape == (3_000,) and noisy.dtype == np.float32


def test_silence_alone_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(800), RATE)
    with pytest.raises(DataError, match="silence"):
        TASK.rows(local.find(tmp_path, "data"), {}, TASK.options())


# --- floors ---------------------------------------------------------------------------------------------------------


def test_subtraction_gains_in_steady_noise_and_is_left_out_where_it_loses(tmp_path: Path) -> None:
    parts = parts_of(folder_of(tmp_path), noises=["white"], snrs_db=[0])
    name, rule = floor(parts.train)  # type: ignore[arg-type]
    assert name == "spectral subtraction"
    lines = [
        {"id": row.id, "target": TASK.target(row), **rule.predict([row])[0]} for row in [parts.test[0], parts.test[1]]
    ]
    assert metrics.scores(lines)[0].value > 2
    same = [{"id": row.id, "target": TASK.target(row), **Unchanged().predict([row])[0]} for row in [parts.test[0]]]
    assert metrics.scores(same)[0].value == 0
    quiet = parts_of(tmp_path, noises=["babble"], snrs_db=[40])
    assert floor(quiet.train)[0] == "the recording as it is"  # type: ignore[arg-type]
    assert len(Subtraction().enhanced(Sound(voice()[:30], RATE)).samples) == 30


# --- the network ----------------------------------------------------------------------------------------------------


def enhancer(streaming: bool = False) -> Enhancer:
    torch.manual_seed(0)
    options = TcnOptions(width=8, blocks=3, streaming=streaming, window_ms=32, hop_ms=12)
    stft = Stft.of(options, RATE)
    network = Tcn(options, stft.bins).eval()
    scale = Scale(np.full(stft.bins, -2, np.float32), np.full(stft.bins, 2, np.float32))
    return (Listener if streaming else Enhancer)(RATE, stft, scale, torch_run(network), options.reach, network)


@pytest.mark.parametrize("sizes", [[2_000], [1, 5, 700, 94, 1_200], [333] * 6 + [2]])
def test_heard_bit_by_bit_it_answers_the_same(sizes: list[int]) -> None:
    model = enhancer(streaming=True)
    assert isinstance(model, Listener)
    noisy = mixed(voice(), np.random.default_rng(0).normal(size=2_000), 0.0)
    samples = noisy / np.float32(FULL)
    edges = np.cumsum([0, *sizes])
    found = list(model.listen(samples[a:b] for a, b in itertools.pairwise(edges)))
    whole = model.enhanced(Sound(noisy, RATE)).samples
    assert sum(map(len, found)) == 2_000
    np.testing.assert_allclose(np.concatenate(found) * FULL, whole, atol=1)
    early = sum(map(len, found[:-1]))
    assert len(sizes) == 1 or early >= edges[-2] - model.stft.window


def test_what_comes_later_changes_nothing_that_was_answered() -> None:
    model, noisy = enhancer(streaming=True), voice()
    changed = noisy.copy()
    changed[1_000:] = voice(seed=5)[1_000:] // 2
    a, b = (model.enhanced(Sound(each, RATE)).samples for each in (noisy, changed))
    until = 1_000 - model.stft.window
    np.testing.assert_array_equal(a[:until], b[:until])


def test_a_long_recording_is_answered_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelcommons.workbench.fields.speech.denoising import model as module

    for streaming in (False, True):
        whole = enhancer(streaming).enhanced(Sound(voice(), RATE)).samples
        with monkeypatch.context() as patch:
            patch.setattr(module, "AT_ONCE", 7)
            np.testing.assert_allclose(enhancer(streaming).enhanced(Sound(voice(), RATE)).samples, whole, atol=1)


def trained(parts: Parts, place: Path, progress: Any) -> Path:
    """A streaming model after two epochs, every step of which was written down."""
    (place / "model").mkdir(parents=True, exist_ok=True)
    job = Job(
        choice=Choice(None, "tcn", {"width": 8, "blocks": 2, "streaming": True}), options=TASK.options(), seed=0,
        training=Training(epochs=2, checkpoint_seconds=0), folder=place / "model", checkpoints=place / "checkpoints",
        progress=progress,
    )  # fmt: skip
    TASK.fit(parts.train, parts.validation, job)
    return place / "model"


class Killed(mc.Silent):
    """Ends training at its third step."""

    def step(self, stage: str, done: float, total: float, text: str = "") -> None:
        if done == 3:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return parts_of(folder_of(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def folder(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(parts, tmp_path_factory.mktemp("model"), mc.Silent())


def test_a_training_that_was_ended_goes_on_to_the_same_bytes(parts: Parts, folder: Path, tmp_path: Path) -> None:
    """The noise of each step is that of the step, whenever it is made."""
    with pytest.raises(KeyboardInterrupt):
        trained(parts, tmp_path, Killed())
    again = trained(parts, tmp_path, mc.Silent())
    for name in TASK.files(folder):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_checkpoints_are_chosen_by_rows_of_every_noise(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, answer = [], Enhancer.enhanced
    rows: Any = parts.test
    monkeypatch.setattr(fitting, "SCORED", len(rows) // len(KINDS))
    monkeypatch.setattr(Enhancer, "enhanced", lambda self, sound: seen.append(sound.content()) or answer(self, sound))
    fitting.improvement(enhancer(), rows)
    assert {rows[at].y.noise for at in range(len(rows)) if rows[at].x.content() in seen} == set(KINDS)


def test_a_recording_of_any_rate_is_answered_by_a_file(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    assert isinstance(model, Listener)
    soundfile.write(tmp_path / "in.wav", np.random.default_rng(0).normal(0, 0.1, 11_025), 11_025)
    (answer,) = model.predict(TASK.read_input(tmp_path / "in.wav", TASK.options()))
    (tmp_path / "out.wav").write_bytes(base64.b64decode(answer["prediction"]["wav"]))
    samples, rate = soundfile.read(tmp_path / "out.wav", dtype="int16")
    assert rate == RATE == answer["prediction"]["rate_hz"] and len(samples) == RATE == answer["prediction"]["samples"]
    assert soundfile.info(tmp_path / "out.wav").subtype == "PCM_16" and "si_sdr" not in answer["prediction"]
    (kept,) = sounds.kept([answer], tmp_path / "quiet")
    assert Path(kept["prediction"]["wav"]).read_bytes() == (tmp_path / "out.wav").read_bytes()


def test_a_config_that_is_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    config = (folder / "config.json").read_text()
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    for old, new in (
        ('"modelcommons"', '"wav2vec2"'),
        (f'"rate_hz": {RATE}', '"rate_hz": 8000'),
        ('"width": 8', '"width": 9'),
    ):
        assert old in config
        (tmp_path / "config.json").write_text(config.replace(old, new))
        with pytest.raises(FormatError):
            load(tmp_path)


def test_the_mask_is_drawn_and_its_cells_are_what_the_answer_rests_on(folder: Path) -> None:
    explainer = TASK.explainer(folder)
    row = Row("a", Sound(mixed(voice(), np.random.default_rng(0).normal(size=2_000), 5.0), RATE))
    found = explainer.attribute(row)
    assert found.weights.sum() == pytest.approx(1) and len(found.names) == np.prod(found.shape)
    whole, none, loudest, faintest = explainer.strength(
        row,
        [np.array([], int), np.arange(len(found.weights)), found.weights.argsort()[-3:], found.weights.argsort()[:3]],
    )
    assert whole == pytest.approx(1) and none == pytest.approx(0) and loudest < faintest
    assert explainer.show(row, found).startswith("<svg")
