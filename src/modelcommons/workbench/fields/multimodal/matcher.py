"""a model folder, read without running code from it, as vectors of pictures and texts that can be compared.

config.json of our own:  {"model_type": "modelcommons", "task", "architecture", "options", "preprocess", "max_length"}
of transformers:         its own, and "preprocess" with the shape that pictures have before its image processor
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import CONFIG, MODEL_TYPE, WEIGHTS, check_weights, read_config
from modelcommons.formats.pixels import pixels
from modelcommons.formats.preprocess import Preprocess, read_preprocess
from modelcommons.workbench.engine.adapters import quiet
from modelcommons.workbench.engine.processors import PROCESSOR, processor_inputs, read_processor
from modelcommons.workbench.engine.tokenizer import TOKENIZER_FILES, open_tokenizer, read_tokenizer
from modelcommons.workbench.fields.multimodal.architectures import ARCHITECTURES, HIGHEST
from modelcommons.workbench.fields.multimodal.pairs import Gallery
from modelcommons.workbench.fields.multimodal.ranking import Ranker

if TYPE_CHECKING:
    from modelcommons.workbench.fields.multimodal.towers import OpenTowers, TwoTower

BATCH = 128  # pictures or texts turned into vectors at a time
LONGEST = 1024  # pieces of a text; more in a config is a mistake or an attack
Inputs = dict[str, np.ndarray]
Run = Callable[[Inputs], np.ndarray]  # pixel_values, or input_ids and attention_mask -> (B, D) float32


class Vectors:
    """Pictures and texts as vectors of length one; how alike two are is their product. Fulfils `Similarity`."""

    def __init__(
        self,
        preprocess: Preprocess,
        pixel_values: Callable[[np.ndarray], np.ndarray],  # uint8 (B, H, W, C) -> float32 (B, C, H, W)
        pieces: Callable[[Sequence[str]], Inputs],  # texts -> input_ids and attention_mask (B, T)
        run: Run,
        temperature: float,
    ) -> None:
        self.preprocess, self.pixel_values, self.pieces = preprocess, pixel_values, pieces
        self.temperature, self._run = temperature, run
        self._seen: tuple[Gallery, np.ndarray, np.ndarray] | None = None

    def to_texts(self, gallery: Gallery, pictures: np.ndarray) -> np.ndarray:
        images, texts = self._of(gallery)
        return np.asarray(images[pictures] @ texts.T)

    def to_pictures(self, gallery: Gallery, texts: np.ndarray) -> np.ndarray:
        images, vectors = self._of(gallery)
        return np.asarray(vectors[texts] @ images.T)

    def _of(self, gallery: Gallery) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of all candidates, made once for the gallery that is asked about."""
        if self._seen is None or self._seen[0] is not gallery:
            self._seen = (gallery, self.images(gallery.pictures), self.texts(gallery.texts))
        return self._seen[1:]

    def images(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """(pictures, D) float64, of pictures of any size and colour."""
        return self._in_batches(pictures, lambda some: {"pixel_values": self.pixel_values(self.fitted(some))})

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, D) float64."""
        return self._in_batches(texts, self.pieces)

    def fitted(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Pictures in the one shape that the model was trained on, uint8 (pictures, height, width, channels)."""
        shape = self.preprocess.shape
        return np.stack([one if one.shape == shape.dimensions else pixels(one, shape) for one in pictures])

    def _in_batches(self, values: Sequence[Any], inputs: Callable[[Sequence[Any]], Inputs]) -> np.ndarray:
        found = [self._run(inputs(values[start : start + BATCH])) for start in range(0, len(values), BATCH)]
        return np.concatenate(found).astype(np.float64)


def load(folder: Path, variant: str = "") -> Ranker:
    """See `load_vectors`."""
    return Ranker(load_vectors(folder, variant))


def load_vectors(folder: Path, variant: str = "") -> Vectors:
    """A model from its folder. `variant`: an ONNX file inside it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    config = read_config(folder)
    preprocess = read_preprocess(config, folder)
    network = load_network(folder, config, preprocess)
    own = config["model_type"] == MODEL_TYPE
    made = preprocess.inputs if own else processor_inputs(read_processor(folder))
    pieces = own_pieces(folder, max_length(config, folder)) if own else open_pieces(folder)
    run = _onnx_run(folder / variant, made, pieces, preprocess) if variant else torch_run(network)
    return Vectors(preprocess, made, pieces, run, temperature_of(network))


def files(folder: Path, variant: str = "") -> list[str]:
    """What is read to predict; the temperature stands in the weights, whatever variant runs."""
    beside = [name for name in (*TOKENIZER_FILES, PROCESSOR) if (folder / name).is_file()]
    return [CONFIG, *beside, WEIGHTS, *([variant] if variant else [])]


def load_network(folder: Path, config: Mapping[str, Any], preprocess: Preprocess) -> TwoTower | OpenTowers:
    """The towers with their weights, for evaluation."""
    from safetensors.torch import load_file

    from modelcommons.workbench.fields.multimodal.towers import TwoTower

    check_weights(folder)
    if config["model_type"] != MODEL_TYPE:
        return open_network(folder).eval()
    try:
        options = ARCHITECTURES[config["architecture"]].model_validate(config["options"])
        network = TwoTower(options, preprocess.shape)  # type: ignore[arg-type]
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (KeyError, ValidationError, RuntimeError) as error:
        raise FormatError(f"{folder}: the weights are not those of its config ({error!s:.200}).") from error
    return network.eval()


def temperature_of(network: TwoTower | OpenTowers) -> float:
    return math.exp(-min(float(network.logit_scale.detach()), HIGHEST))


def max_length(config: Mapping[str, Any], folder: Path) -> int:
    """Pieces of a text that are read."""
    length = config.get("max_length")
    if not isinstance(length, int) or not 0 < length <= LONGEST:
        raise FormatError(f"{folder / CONFIG}: expected max_length of at most {LONGEST}, got {length!r}.")
    return length


def own_pieces(folder: Path, length: int) -> Callable[[Sequence[str]], Inputs]:
    """By the folder's own tokenizer.json, padded on the right to the longest text of the batch."""
    tokenizer = read_tokenizer(folder)
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding()

    def pieces(texts: Sequence[str]) -> Inputs:
        found = tokenizer.encode_batch(list(texts))
        ids = np.array([one.ids or [0] for one in found], np.int64)
        mask = np.array([one.attention_mask or [0] for one in found], np.int64)
        return {"input_ids": ids.reshape(len(texts), -1), "attention_mask": mask.reshape(len(texts), -1)}

    return pieces


def torch_run(network: TwoTower | OpenTowers) -> Run:
    import torch

    def run(inputs: Inputs) -> np.ndarray:
        made = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}
        with torch.inference_mode():
            found = network.images(**made) if "pixel_values" in made else network.texts(**made)
        return np.asarray(found.numpy())

    return run


def _onnx_run(
    path: Path,
    pixel_values: Callable[[np.ndarray], np.ndarray],
    pieces: Callable[[Sequence[str]], Inputs],
    preprocess: Preprocess,
) -> Run:
    """One file holds both towers; the one that is not asked gets one empty input."""
    from modelcommons.workbench.engine.quantize import session

    opened = session(path)
    empty = {"pixel_values": pixel_values(np.zeros((1, *preprocess.shape.dimensions), np.uint8)), **pieces(["a"])}

    def run(inputs: Inputs) -> np.ndarray:
        whole = {name: np.ascontiguousarray(array) for name, array in (empty | inputs).items()}
        return opened.run(whole)[0 if "pixel_values" in inputs else 1]

    return run


# --- open models ----------------------------------------------------------------------------------------------------


def open_network(folder: Path) -> OpenTowers:
    """A model of the transformers library with a tower for pictures and one for texts.

    Raises:
        FormatError: it is none that the library knows, or needs code from the folder.
    """
    from transformers import AutoModel

    from modelcommons.workbench.fields.multimodal.towers import OpenTowers

    with quiet():
        try:
            network = AutoModel.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype="float32"
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            raise FormatError(
                f"{folder} is no model that transformers can load without running code ({error!s:.200})."
            ) from error
    wanted = ("get_image_features", "get_text_features", "logit_scale")
    missing = [name for name in wanted if not hasattr(network, name)]
    if missing:
        raise FormatError(
            f"Expected a model that compares pictures and texts, such as CLIP or SigLIP, in {folder}; a "
            f"{type(network).__name__} has no {missing[0]}. Name another model."
        )
    return OpenTowers(network)


def open_pieces(folder: Path) -> Callable[[Sequence[str]], Inputs]:
    """By an open model's tokenizer, padded to its full length as these models were trained.

    SigLIP reads its padding too: it was trained without a mask.

    Raises:
        FormatError: there is no tokenizer, or the config does not say how many tokens are read.
    """
    from transformers import AutoConfig

    tokenizer = open_tokenizer(folder)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        length = int(config.text_config.max_position_embeddings)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise FormatError(
            f"Expected text_config.max_position_embeddings in {folder / CONFIG} ({error!s:.200}). Name another model."
        ) from error
    reads_padding = str(config.model_type).startswith("siglip")

    def pieces(texts: Sequence[str]) -> Inputs:
        found = tokenizer(list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="np")
        ids = np.asarray(found["input_ids"], np.int64)
        mask = np.ones_like(ids) if reads_padding else np.asarray(found["attention_mask"], np.int64)
        return {"input_ids": ids, "attention_mask": mask}

    return pieces
