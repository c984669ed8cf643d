"""fitting: a new network or an open model reads the training text window by window and becomes a model folder."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats.model_folder import WEIGHTS, read_config, write_config
from modelcommons.workbench.engine.tokenizer import open_tokenizer
from modelcommons.workbench.engine.training import Defaults, Fit
from modelcommons.workbench.fields.text.language import tokens as kinds
from modelcommons.workbench.fields.text.language.architectures import ARCHITECTURES as ARCHITECTURES
from modelcommons.workbench.fields.text.language.architectures import CONTEXT, defaults, open_defaults
from modelcommons.workbench.fields.text.language.model import (
    OPEN_CONTEXT,
    Config,
    LanguageModel,
    TorchNetwork,
    logits_of,
    open_context,
    open_network,
)
from modelcommons.workbench.fields.text.language.passages import Options, Passages
from modelcommons.workbench.fields.text.language.tokens import Tokens
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import Tensor, nn

TASK_NAME = "text-generation"
SCORED = 50_000  # characters of the validation text that checkpoints are chosen by
TRIED = 2000  # characters that an open model's tokenizer must give back


class Windows:
    """The training text as one row of tokens, of which stretches are read that begin anywhere."""

    def __init__(self, stretches: Iterable[tuple[str, bool]], config: Config) -> None:
        parts: list[Any] = []
        for text, begins in stretches:
            parts += [[config.tokens.end]] if begins else []
            parts.append(config.tokens.encode(text))
        self.ids = np.concatenate([*parts, [config.tokens.end]]).astype(np.int64)
        self.length = min(config.context, len(self.ids) - 1)

    def __len__(self) -> int:
        return max(1, (len(self.ids) - 1) // self.length)

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Stretches of a context and one token, moved by up to half a context either way, (B, T + 1)."""
        import torch

        moved = indices * self.length + rng.integers(-(self.length // 2), self.length // 2 + 1, len(indices))
        starts = np.clip(moved, 0, len(self.ids) - self.length - 1)
        return torch.from_numpy(self.ids[starts[:, None] + np.arange(self.length + 1)])


def fit(train: Passages, validation: Passages, job: Job) -> Fit:
    return _fit_new(train, validation, job) if job.choice.is_new else _fit_open(train, validation, job)


def _fit_new(train: Passages, validation: Passages, job: Job) -> Fit:
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.text.language.gpt import Gpt

    assert isinstance(job.options, Options)
    options = ARCHITECTURES[job.choice.name].model_validate(dict(job.choice.options)).model_dump(mode="json")
    if options["width"] % (2 * options["heads"]):
        raise DataError(
            f"model.options.width: expected a multiple of twice `heads` ({2 * options['heads']}), got "
            f"{options['width']}. Change one of them."
        )
    context = CONTEXT if job.options.context == "auto" else job.options.context
    config = Config(_new_tokens(options, train, job), context)
    torch.manual_seed(job.seed)
    network = Gpt(config.tokens.size, **options)
    windows = Windows(train.stretches(), config)
    fitted = _train(network, config, windows, validation, job, defaults(len(windows.ids)))
    weights = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(weights, job.folder / WEIGHTS, {"format": "pt"})
    rest: dict[str, Any] = {"alphabet": config.tokens.alphabet} if isinstance(config.tokens, kinds.Characters) else {}
    write_config(job.folder, TASK_NAME, job.choice.name, options, context=context, **rest)
    return fitted


def _new_tokens(options: dict[str, Any], train: Passages, job: Job) -> Tokens:
    """What is foretold, learned from the training text."""
    texts = [text for text, _ in train.stretches()]
    match options["tokens"]:
        case "characters":
            return kinds.Characters.of(texts)
        case "bytes":
            return kinds.Bytes()
        case _:
            return kinds.learn_pieces(texts, options["vocabulary"], job.folder)


def _fit_open(train: Passages, validation: Passages, job: Job) -> Fit:
    import torch

    from modelcommons.workbench.engine.adapters import merged, quiet

    assert job.choice.folder is not None and isinstance(job.options, Options)
    folder, method = job.choice.folder, job.training.method
    about = read_config(folder)
    longest = open_context(about)
    context = min(longest, OPEN_CONTEXT if job.options.context == "auto" else job.options.context)
    tokenizer = open_tokenizer(folder)
    torch.manual_seed(job.seed)  # low-rank additions begin at random
    network = open_network(folder)
    size = network.get_output_embeddings().weight.shape[0]  # type: ignore[operator]
    config = Config(kinds.OpenTokens(tokenizer, size, folder), context)
    _refuse_lossy(config.tokens, next(train.stretches())[0][:TRIED], job.choice.name)
    trained = limited(network, method)
    fitted = _train(trained, config, Windows(train.stretches(), config), validation, job, open_defaults(method))
    plain = merged(trained, method)
    plain.config.preprocess = {"context": context}
    with quiet():
        plain.save_pretrained(job.folder)
        tokenizer.save_pretrained(job.folder)
    return fitted


def _refuse_lossy(tokens: Tokens, text: str, name: str) -> None:
    """A tokenizer that drops capitals or blanks foretells another text, and its figures would be of that one."""
    if tokens.decode(tokens.encode(text).tolist()).strip() != text.strip():
        raise DataError(
            f"model.from: the tokenizer of {name} does not give the training text back, so its cost per character "
            "would be that of another text. Name a model whose tokens are reversible, such as GPT-2's."
        )


def limited(network: Any, method: str) -> Any:
    """Which weights are trained: all, the output layer, or low-rank additions beside every linear layer.

    Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021), through peft.
    """
    if method == "full":
        return network
    if method == "head":
        network.requires_grad_(False)
        network.get_output_embeddings().requires_grad_(True)
        return network
    from peft import LoraConfig, get_peft_model

    from modelcommons.workbench.engine.adapters import RANK, quiet

    with quiet():
        return get_peft_model(network, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"))


def _train(
    network: nn.Module, config: Config, windows: Windows, validation: Passages, job: Job, values: Defaults
) -> Fit:
    from torch.nn.functional import cross_entropy

    from modelcommons.workbench.engine.train import train as run

    judged = [validation[at].x for at in sample(validation)]
    chars = sum(len(passage.asked) for passage in judged)

    def loss(network: nn.Module, ids: Tensor) -> Tensor:
        logits = logits_of(network, ids[:, :-1]).float()
        return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    def score(network: nn.Module) -> float:
        found = LanguageModel(config, TorchNetwork(network)).costs(judged)
        return math.fsum(cost["nats"] for cost in found) / chars

    return run(
        network, num_rows=len(windows), batch=windows.batch, loss=loss, score=score, metric="nats_per_char",
        direction="lower", limit=0.0, training=job.training, defaults=values, seed=job.seed,
        checkpoints=job.checkpoints, progress=job.progress, seconds=job.seconds, max_steps=job.max_steps,
    )  # fmt: skip


def sample(rows: Passages) -> list[int]:
    """Passages evenly from all of the rows, of about `SCORED` characters together."""
    total = int((rows.where[:, 2] - rows.where[:, 1]).sum())
    step = max(1, math.ceil(total / SCORED))
    return list(range(step // 2, len(rows), step)) or [0]
