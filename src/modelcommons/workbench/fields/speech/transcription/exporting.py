"""exporting: a recogniser that labels frames as one ONNX file, of as many recordings and of any length."""

# B batch, N samples, T frames, M mel bands, K labels

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelcommons.errors import UsageError
from modelcommons.formats.model_folder import MODEL_TYPE, read_config
from modelcommons.workbench.engine.quantize import export as write
from modelcommons.workbench.fields.speech.transcription.model import own_network, read_own
from modelcommons.workbench.fields.speech.transcription.open_models import open_network

if TYPE_CHECKING:
    from torch import Tensor

FRAMES, SAMPLES = 64, 16_000  # of the example that the exporter follows


def export(folder: Path, out: Path) -> None:
    """See `Recognition.export`.

    Raises:
        UsageError: the model writes token by token.
    """
    import torch
    from torch import nn

    config = read_config(folder)
    if config["model_type"] == MODEL_TYPE:
        options, alphabet, _ = read_own(folder, config)
        inputs = {"features": torch.randn(2, FRAMES, options.mels), "lengths": torch.tensor([FRAMES, FRAMES // 2])}
        free = {"features": {0: "batch", 1: "frames"}, "lengths": {0: "batch"}}
        write(own_network(folder, options, alphabet), inputs, ["log_probs", "frames"], free, out, traced=True)
        return
    if config.get("is_encoder_decoder"):
        raise UsageError("a recogniser that writes token by token has no export")
    network = open_network(folder)

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_values: Tensor) -> Tensor:
            logits: Tensor = self.network(input_values).logits
            return logits

    free = {"input_values": {0: "batch", 1: "samples"}}
    write(Logits().eval(), {"input_values": torch.randn(2, SAMPLES)}, ["logits"], free, out, traced=True)
