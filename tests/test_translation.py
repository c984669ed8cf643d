"""translation and text2text-generation: scores as sacreBLEU gives them, search against all there is, rows, models."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelcommons as mc
from modelcommons.errors import DataError, FormatError, MissingPackage
from modelcommons.formats.model_folder import WEIGHTS, read_config, write_config
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields.text.language.tokens import END, learn_pieces
from modelcommons.workbench.fields.text.listed import Listed
from modelcommons.workbench.fields.text.sequences import rewriting, translating
from modelcommons.workbench.fields.text.sequences.model import Preprocess, load_network, padded
from modelcommons.workbench.fields.text.sequences.nearest import Nearest
from modelcommons.workbench.fields.text.sequences.networks import logits_of, reads
from modelcommons.workbench.fields.text.sequences.pairs import Known, read_input
from modelcommons.workbench.fields.text.sequences.search import Rule, search
from modelcommons.workbench.fields.text.text2text import TASK as REWRITING
from modelcommons.workbench.fields.text.translation import TASK
from modelcommons.workbench.sources.local import find
from modelcommons.workbench.task import Choice, Job, Line, Row

WORDS = st.lists(st.sampled_from(["the", "cat", "sat", ".", "我们", "好", "a-b"]), max_size=7).map(" ".join)
LINES = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=6)


def line(text: str, references: list[str], tokenize: str = "13a") -> Line:
    return {"id": "a", "target": {"references": references, "tokenize": tokenize}, "prediction": {"text": text}}


# --- scores ---------------------------------------------------------------------------------------------------------


@given(LINES, st.sampled_from(translating.TOKENIZERS))
@settings(max_examples=12)
def test_bleu_and_chrf_are_sacrebleus(answers: list[tuple[str, list[str]]], tokenize: str) -> None:
    from sacrebleu.metrics import BLEU, CHRF

    lines = [line(text, known, tokenize) for text, known in answers]
    texts = [text for text, _ in answers]
    streams = [[known[at] if at < len(known) else None for _, known in answers] for at in range(3)]
    streams = [stream for stream in streams if any(known is not None for known in stream)]
    bleu, char_bleu, chrf = translating.scores(lines)
    for score, metric in ((bleu, BLEU(tokenize=tokenize)), (char_bleu, BLEU(tokenize="char")), (chrf, CHRF())):
        assert score.value == pytest.approx(metric.corpus_score(texts, streams).score, abs=1e-9)  # type: ignore[arg-type]
        assert str(metric.get_signature()) in score.method
    each = [1 - CHRF().sentence_score(text, known).score / 100 for text, known in answers]
    np.testing.assert_allclose(translating.losses(lines), each, atol=1e-12)
    assert translating.value(lines) == bleu.value and rewriting.value(lines) == chrf.value


def test_the_interval_is_that_of_drawn_lines_scored_again() -> None:
    rng = np.random.default_rng(0)
    vocabulary = ["the", "cat", "sat", "on", "a", "mat", "and", "saw"]
    lines = [line(" ".join(rng.choice(vocabulary, 9)), [" ".join(rng.choice(vocabulary, 9))]) for _ in range(40)]
    score = translating.scores(lines)[2]
    drawn = [rewriting.value([lines[at] for at in rng.integers(0, 40, 40)]) for _ in range(60)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert abs(score.low - low) < 1.0 and abs(score.high - high) < 1.0 and score.low < score.value < score.high


@given(st.text("abc", max_size=9), st.text("abc", max_size=9))
def test_the_longest_common_row_is_the_longest_of_all(a: str, b: str) -> None:
    def rows(text: str) -> set[str]:
        return {"".join(some) for size in range(len(text) + 1) for some in itertools.combinations(text, size)}

    assert rewriting.common(a, b) == max(map(len, rows(a) & rows(b)))


def test_rouge_l_is_lins_example() -> None:
    """Lin (2004), section 3.1: S2 0.75, S3 0.5."""
    assert rewriting.rouge_l("police kill the gunman", ["police killed the gunman"]) == 0.75
    assert rewriting.rouge_l("the gunman kill police", ["police killed the gunman"]) == 0.5
    assert rewriting.rouge_l("我们好", ["x", "我好"]) == pytest.approx(0.8) and rewriting.rouge_l("", ["a"]) == 0


def test_exact_match_is_to_the_letter() -> None:
    lines = [line("a b", ["a b", "c"]), line("A b", ["a b"]), line("c", ["a", "c"])]
    found = {score.metric: score for score in rewriting.scores(lines)}
    assert (found["exact_match"].num, found["exact_match"].den) == (2, 3)


def test_what_is_no_translation_is_refused_in_a_sentence() -> None:
    for wrong in ({"prediction": {"text": 3}, "target": {"references": ["a"]}}, {"prediction": {}}, line("a", [])):
        with pytest.raises(FormatError, match="references"):
            translating.scores([wrong])
    with pytest.raises(FormatError, match="tokeniser"):
        translating.scores([line("a", ["a"], "ja-mecab")])
    with pytest.raises(DataError):
        translating.scores([])


def test_the_floor_of_the_data_folder_is_that_of_words_and_single_pairs(real: Callable[[str], Path]) -> None:
    """TF-IDF of words and pairs of words, each pair for itself, BLEU over characters, blanks counted too."""
    from sacrebleu import corpus_bleu
    from sklearn.feature_extraction.text import TfidfVectorizer

    folder = real("samples/tatoeba_en_zh")
    train, test = (pq.read_table(folder / f"{part}.parquet") for part in ("train", "test"))
    weights = TfidfVectorizer(ngram_range=(1, 2))
    sources = weights.fit_transform(train["en"].to_pylist())
    nearest = (weights.transform(test["en"].to_pylist()) @ sources.T).toarray().argmax(axis=1)
    known = train["zh"].to_pylist()
    texts, references = (
        [" ".join(re.sub(r"\s", "▁", text)) for text in some]
        for some in ([known[at] for at in nearest], test["zh"].to_pylist())
    )
    assert round(corpus_bleu(texts, [references], tokenize="none").score, 4) == 16.6148


# --- search ---------------------------------------------------------------------------------------------------------


class Table:
    """A language of few tokens: what follows depends on all that stands before, at random but each time the same."""

    def __init__(self, num_sources: int, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.written: list[tuple[int, ...]] = [(at,) for at in range(num_sources)]

    def advance(self, tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
        self.written = [(*self.written[row], token) for token, row in zip(tokens.tolist(), rows.tolist(), strict=True)]
        return np.stack([self.follows(text) for text in self.written])

    def follows(self, text: tuple[int, ...]) -> np.ndarray:
        logits = np.random.default_rng([self.seed, *text]).normal(size=self.size) * 2
        return np.asarray(logits - np.log(np.exp(logits).sum()))


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.6, 1.0, 2.0]))
@settings(max_examples=20)
def test_a_beam_that_is_wide_enough_finds_the_best_of_all(seed: int, length_penalty: float) -> None:
    end, longest, size = 0, 4, 3
    rule = Rule(1, end, longest, size**longest, length_penalty)
    *_, searches = search(Table(2, size, seed), 2, rule)
    for source, found in enumerate(searches):
        best: dict[tuple[int, ...], float] = {}
        for tokens in itertools.product(range(size), repeat=longest):
            tokens = tokens[: tokens.index(end) + 1] if end in tokens else tokens
            table = Table(2, size, seed)
            total = sum(table.follows((source, 1, *tokens[:at]))[token] for at, token in enumerate(tokens))
            best[tokens] = rule.normalised(total, len(tokens))
        first, second = sorted(best, key=lambda tokens: -best[tokens])[:2]
        assert found.best.tokens == tuple(token for token in first if token != end)
        assert found.best.score == pytest.approx(best[first])
        assert -1e-9 <= found.margin <= best[first] - best[second] + 1e-9


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_a_beam_of_one_takes_the_likeliest_token_after_token(seed: int) -> None:
    *_, (found,) = search(Table(1, 5, seed), 1, Rule(1, 0, 9, 1, 1.0))
    table, text = Table(1, 5, seed), (0, 1)
    while len(text) < 11 and (token := int(table.follows(text).argmax())) != 0:
        text = (*text, token)
    assert found.best.tokens == text[2:] and found.margin > 0


def test_a_token_that_is_never_written_is_not_written() -> None:
    *_, (found,) = search(Table(1, 4, 0), 1, Rule(1, 0, 6, 3, 1.0, never=(2, 3)))
    assert set(found.best.tokens) <= {1}


# --- models ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows nothing: weights as they came."""
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.text.sequences.transformer import Transformer

    made = tmp_path_factory.mktemp("model")
    size = learn_pieces(["the cat saw the other cat", "我们好"], 300, made).size
    options = {
        "width": 16, "encoder_layers": 2, "decoder_layers": 2, "heads": 2, "ngrams": 3, "buckets": 64, "dropout": 0.0,
    }  # fmt: skip
    torch.manual_seed(0)
    network = Transformer(size, **options)  # type: ignore[arg-type]
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    save_file(network.state_dict(), made / WEIGHTS)
    preprocess = Preprocess(max_source=20, max_target=12, beam=3, length_penalty=0.5)
    write_config(made, "translation", "transformer", options, preprocess=preprocess.model_dump())
    return made


SOURCES = ["the cat", "好", "the cat saw 我们 the other", "x"]


def test_what_was_read_is_remembered_and_other_rows_change_nothing(folder: Path) -> None:
    """Token by token from memory, in a batch of other lengths, against each target read at once and alone."""
    import torch

    model = TASK.load(folder)
    targets = ["cat 好", "the", "我", "other other"]
    found = model.nats(list(zip(SOURCES, targets, strict=True)))
    network = load_network(folder, read_config(folder))
    for source, target, nats in zip(SOURCES, targets, found, strict=True):
        ids, mask = map(torch.from_numpy, padded([model.codec.source(source, 20)], 0))
        labels = torch.tensor([model.codec.target(target, 12)])
        before = torch.cat([torch.full((1, 1), model.codec.start), labels[:, :-1]], 1)
        with torch.inference_mode():
            logits = logits_of(network, ids, mask, before)
        expected = torch.nn.functional.cross_entropy(logits[0], labels[0], reduction="sum")
        assert nats == pytest.approx(float(expected), rel=1e-4)


def test_answers_are_the_same_alone_and_a_stream_is_the_answer_in_parts(folder: Path) -> None:
    model = mc.load(folder)
    together = [answer["prediction"]["text"] for answer in model.predict(SOURCES)]
    assert together == [model.predict(text)[0]["prediction"]["text"] for text in SOURCES]
    for text, whole in zip(SOURCES, together, strict=True):
        assert "".join(model.stream(text)) == whole


def rows(number: int = 24) -> Listed:
    texts = ["the cat saw", "a cat", "the other cat saw a cat"]
    return Listed([Row(str(at), f"{texts[at % 3]} {at}", Known((f"cat {at}",), "13a")) for at in range(number)])


def job(choice: Choice, place: Path, options: dict[str, Any], **training: object) -> Job:
    (place / "model").mkdir(parents=True)
    return Job(
        choice=choice, training=Training.model_validate({"epochs": 1, **training}), seed=0,
        options=TASK.options.model_validate({"beam": 2, **options}), folder=place / "model",
        checkpoints=place / "checkpoints", progress=mc.Silent(), max_steps=2,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["t5", "marian"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from tokenizers import Tokenizer, processors
    from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp(request.param)
    learn_pieces(["the cat saw the other cat"], 300, folder)
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.add_special_tokens(["<pad>"])
    end, pad = made.token_to_id(END), made.token_to_id("<pad>")
    made.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, end)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, pad_token="<pad>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    known: dict[str, Any] = {
        "vocab_size": len(tokenizer), "pad_token_id": pad, "eos_token_id": end, "decoder_start_token_id": pad,
    }  # fmt: skip
    if request.param == "t5":
        network: Any = T5ForConditionalGeneration(
            T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, **known)
        )
    else:
        sizes = {f"{side}_{what}": value for side in ("encoder", "decoder") for what, value in
                 (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))}  # fmt: skip
        network = MarianMTModel(
            MarianConfig(d_model=16, max_position_embeddings=64, forced_eos_token_id=None, **sizes, **known)
        )
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    network.save_pretrained(folder)
    return folder


def test_an_open_model_writes_what_transformers_would(base: Path) -> None:
    import torch
    from transformers import AutoModelForSeq2SeqLM

    model = TASK.load(base)
    network = AutoModelForSeq2SeqLM.from_pretrained(base, dtype="float32").eval()
    rule = Rule(model.codec.start, model.codec.end, 9, 1, 0.0, model.codec.never)
    for text in SOURCES:
        ids = torch.tensor([model.codec.source(text, 30)])
        *_, (found,) = search(reads(network)(ids.numpy(), np.ones_like(ids.numpy())), 1, rule)
        with torch.inference_mode():
            theirs = network.generate(ids, max_new_tokens=9, do_sample=False, suppress_tokens=list(model.codec.never))
        kept = [token for token in theirs[0].tolist() if token not in (model.codec.start, model.codec.end)]
        assert list(found.best.tokens) == kept
    together = model.predict([Row("a", text) for text in SOURCES])
    assert together[1]["prediction"] == model.predict([Row("a", SOURCES[1])])[0]["prediction"]


@pytest.mark.parametrize("method", ["full", "lora", "head"])
def test_an_open_model_is_tuned_and_loaded(base: Path, method: str, tmp_path: Path) -> None:
    TASK.fit(rows(), rows(4), job(Choice(base, "open"), tmp_path, {"prefix": "say: "}, method=method))
    model = TASK.load(tmp_path / "model")
    about = json.loads((tmp_path / "model" / "config.json").read_text())["preprocess"]
    assert about["prefix"] == "say: " and model.preprocess.beam == 2
    assert model.codec.source("cat", 30)[:3] == model.codec._tokenizer("say: cat")["input_ids"][:3]
    assert isinstance(model.predict([rows()[0]])[0]["prediction"]["text"], str)


def sentencepiece(folder: Path, name: str, texts: list[str], **numbers: int) -> list[str]:
    """Writes the file of a SentencePiece model of these texts; returns its pieces."""
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    path = folder / name
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 4), model_prefix=str(path.with_suffix("")), vocab_size=40, minloglevel=2,
        hard_vocab_limit=False, bos_id=-1, **numbers,
    )  # fmt: skip
    path.with_suffix(".vocab").unlink()
    if path.suffix != ".model":
        path.with_suffix(".model").rename(path)
    pieces = SentencePieceProcessor(model_file=str(path))
    return [pieces.id_to_piece(at) for at in range(pieces.get_piece_size())]


def with_sentencepiece(kind: str, folder: Path) -> Path:
    """A T5 or Marian with random weights and tokenizers as they are published: SentencePiece's own files."""
    from transformers import MarianConfig, MarianMTModel, T5Config, T5ForConditionalGeneration

    if kind == "t5":
        sentencepiece(folder, "spiece.model", ["the cat saw it", "der hund"], pad_id=0, eos_id=1, unk_id=2)
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
        T5ForConditionalGeneration(T5Config(vocab_size=200, decoder_start_token_id=0, **sizes)).save_pretrained(folder)
        return folder
    from_, to = (sentencepiece(folder, f"{side}.spm", [text], eos_id=0, unk_id=1)
                 for side, text in (("source", "the cat saw it"), ("target", "der hund sah es")))  # fmt: skip
    names = dict.fromkeys(["</s>", "<unk>", *from_, *to, "<pad>"])
    (folder / "vocab.json").write_text(json.dumps({name: at for at, name in enumerate(names)}))
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}  # fmt: skip
    pad = len(names) - 1
    known = {"vocab_size": len(names), "pad_token_id": pad, "decoder_start_token_id": pad, "eos_token_id": 0}
    MarianMTModel(MarianConfig(forced_eos_token_id=0, max_position_embeddings=64, **known, **sizes)).save_pretrained(
        folder
    )
    return folder


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize(("kind", "names"), [("t5", {"tokenizer.json"}), ("marian", {"source.spm", "target.spm"})])
def test_open_models_with_tokenizers_of_sentencepiece(
    kind: str, names: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "open").mkdir()
    folder = with_sentencepiece(kind, tmp_path / "open")
    TASK.fit(rows(), rows(4), job(Choice(folder, "open"), tmp_path / "run", {}))
    model = TASK.load(tmp_path / "run" / "model")
    assert names <= set(TASK.files(tmp_path / "run" / "model"))
    target = "der hund"
    assert model.codec.decode(model.codec.target(target, 30)) == target, "by the pieces of the targets"
    assert model.codec.source("the cat", 30)[-1] == model.codec.end
    assert isinstance(model.predict([rows()[0]])[0]["prediction"]["text"], str)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"needs 'sentencepiece'. Install it: pip install sentencepiece"):
        TASK.load(folder)


# --- memory ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a memory, hardly trained."""
    place = tmp_path_factory.mktemp("remembering")
    options = {"width": 16, "heads": 2, "buckets": 64, "vocabulary": 320}
    TASK.fit(rows(), rows(4), job(Choice(None, "transformer", options), place, {"known": 0.8}))
    return place / "model"


def test_a_source_that_is_nearly_known_is_answered_by_its_target(remembering: Path) -> None:
    model = TASK.load(remembering)
    near, far = Row("a", "The cat <saw> 3"), Row("b", "owls")
    found = model.predict([far, near])
    assert found[1] == {"margin": 1e6, "prediction": {"text": "cat 3"}} and found[0]["margin"] < 1e6
    assert model.predict([]) == []
    for row, answer in zip((far, near), found, strict=True):
        assert model.predict([row])[0]["prediction"] == answer["prediction"]
        assert "".join(model.stream(row)) == answer["prediction"]["text"]
    explainer = TASK.explainer(remembering)
    shown = [explainer.show(row, explainer.attribute(row)) for row in (near, far)]
    assert "= the cat saw 3</small>" in shown[0] and "<saw>" not in shown[0] and "<small>" not in shown[1]
    model.preprocess = model.preprocess.model_copy(update={"known": 1.0})
    assert model.predict([near])[0]["margin"] < 1e6, "as like as that it is not"


def test_the_memory_is_part_of_the_model_and_none_is_kept_unasked(remembering: Path, folder: Path) -> None:
    assert TASK.carried(remembering) == ["memory.parquet"] and "memory.parquet" in TASK.files(remembering)
    assert TASK.carried(folder) == [] and "memory.parquet" not in TASK.files(folder)
    table = pq.read_table(remembering / "memory.parquet").to_pydict()
    assert table == {"source": [row.x for row in rows()._rows], "target": [row.y.texts[0] for row in rows()._rows]}


def test_a_memory_that_is_damaged_is_refused_in_a_sentence(remembering: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(remembering, folder)
    for wrong in ({"source": ["a"]}, {"source": ["a"], "target": [1]}, {"source": [None], "target": ["b"]}):
        pq.write_table(pa.table(wrong), folder / "memory.parquet")
        with pytest.raises(FormatError, match=r"Expected the training pairs of a model in .*memory\.parquet"):
            TASK.load(folder)
    (folder / "memory.parquet").write_bytes(b"PAR1")
    with pytest.raises(FormatError, match="Get the model again"):
        TASK.load(folder)


def test_a_width_that_the_heads_do_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"width: expected an even multiple of `heads` \(6\), got 32"):
        TASK.fit(rows(), rows(), job(Choice(None, "transformer", {"width": 32, "heads": 6}), tmp_path, {}))


# --- rows -----------------------------------------------------------------------------------------------------------


def read(path: Path, columns: dict[str, str] | None = None, **options: Any) -> list[Row]:
    part = TASK.rows(find(path, "data"), columns or {}, TASK.options.model_validate(options)).parts["all"]
    return [part[at] for at in range(len(part))]


def test_one_source_is_one_row_with_all_of_its_targets(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("en,zh\nHello.,你好。\nBye.,再见。\nHello.,喂！\n Hello. ,你好。\n")
    found = read(path, {"source": "en", "target": "zh"})
    assert [(row.id, row.x, row.y.texts) for row in found] == [
        ("a.csv:2", "Hello.", ("你好。", "喂！")), ("a.csv:3", "Bye.", ("再见。",)),
    ]  # fmt: skip
    assert TASK.target(found[0]) == {"references": ["你好。", "喂！"], "tokenize": "zh"}
    assert [TASK.slice(found[0], name) for name in TASK.slices] == ["1-4 words", "2 known", "none"]


def test_the_hubs_column_of_both_languages_and_lists_of_targets(tmp_path: Path) -> None:
    both = [{"de": f"Satz {at}.", "en": f"Sentence {at}."} for at in range(3)]
    pq.write_table(pa.table({"translation": both}), tmp_path / "a.parquet")
    (found, *_) = read(tmp_path / "a.parquet", languages=("en", "de"))
    assert (found.x, found.y) == ("Sentence 0.", Known(("Satz 0.",), "13a"))
    lines = ['{"translation": {"de": "a", "en": "b"}}', '{"translation": ["a", "b"]}', '{"translation": null}']
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    assert [row.x for row in read(tmp_path / "c.jsonl", languages=("en", "de"))] == ["b"]
    with pytest.raises(DataError, match=r"data\.options\.languages: \[from, to\]"):
        read(tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text(
        '{"source": "a", "references": ["b", "c"]}\n{"source": "d", "references": ["e"]}\n'
    )
    assert [row.y.texts for row in read(tmp_path / "b.jsonl")] == [("b", "c"), ("e",)]


def test_what_cannot_be_read_is_counted_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("source,target\na,b\n,c\nd,\n")
    reading = TASK.rows(find(path, "data"), {}, TASK.options())
    assert reading.num_bad == 2 and [bad.where for bad in reading.bad] == ["a.csv:3", "a.csv:4"]
    with pytest.raises(DataError, match=r"there is no column 'zh'"):
        read(path, {"target": "zh"})
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"Expected a column called source or .* data\.columns\.source"):
        read(path)


def test_what_a_person_hands_in(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "a.csv").write_text("source\none\n")
    assert [row.x for row in read_input(["one", {"text": "two"}])] == ["one", "two"]
    assert [(row.id, row.x) for row in read_input(tmp_path / "a.txt")] == [("a.txt:1", "one"), ("a.txt:3", "two")]
    assert [row.x for row in read_input(str(tmp_path / "a.csv"))] == ["one"]
    (tmp_path / "b.txt").write_bytes("Füße".encode("latin-1"))
    with pytest.raises(DataError, match="a text file in UTF-8"):
        read_input(tmp_path / "b.txt")
    for wrong in ("  ", 3, {"source": "a"}):
        with pytest.raises(DataError, match="Expected a text"):
            read_input(wrong)


def test_the_floor_is_the_first_target_of_the_nearest_source() -> None:
    known = Listed(
        [Row("a", "red owl", Known(("eule", "kauz"), "13a")), Row("b", "blue cat", Known(("katze",), "13a"))]
    )
    answers = Nearest(known).predict([Row("x", "an owl"), Row("y", "cat"), Row("z", "☃")])
    assert [answer["prediction"]["text"] for answer in answers] == ["eule", "katze", "eule"]
    assert REWRITING.baseline(known, REWRITING.options())[0] == TASK.baseline(known, TASK.options())[0]
