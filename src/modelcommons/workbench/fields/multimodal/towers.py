"""the networks: one tower for pictures, one for texts, and vectors of length one in which both are compared."""

# B pictures or texts, T time (pieces of words), D width

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from modelcommons.formats.pixels import Shape
from modelcommons.workbench.engine.cnn import Cnn
from modelcommons.workbench.fields.multimodal.architectures import HIGHEST, TwoTowerOptions

TEMPERATURE = 0.07  # at the beginning


class TwoTower(nn.Module):
    """A convolutional net and a bag of word pieces, with a learned temperature.

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision (2021), with far
    smaller towers.
    """

    def __init__(self, options: TwoTowerOptions, shape: Shape) -> None:
        super().__init__()
        self.image_tower = Cnn(shape.dimensions, options.width, options.widths, options.dropout)
        self.text_tower = Bag(options.vocabulary, options.width, options.word_dropout)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))

    def images(self, pixel_values: Tensor) -> Tensor:
        """pixel_values (B, channels, height, width) -> (B, D)."""
        return unit(self.image_tower(pixel_values))

    def texts(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B, T), attention_mask (B, T) 1 or 0 -> (B, D)."""
        return unit(self.text_tower(input_ids, attention_mask))


class Bag(nn.Module):
    """The mean of a text's pieces, through one hidden layer beside it."""

    def __init__(self, vocabulary: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.norm = nn.LayerNorm(width)
        self.hidden, self.out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = dropout

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask_BT = attention_mask.to(torch.float32)
        if self.training and self.dropout:
            mask_BT = mask_BT * (torch.rand_like(mask_BT) >= self.dropout)
        total_BD = (self.embed(input_ids) * mask_BT.unsqueeze(-1)).sum(1)
        mean_BD = self.norm(total_BD / mask_BT.sum(1, keepdim=True).clamp(min=1))
        out_BD: Tensor = mean_BD + self.out(torch.relu(self.hidden(mean_BD)))
        return out_BD


class OpenTowers(nn.Module):
    """CLIP, SigLIP and their like of the transformers library, asked in the same way."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @property
    def logit_scale(self) -> Tensor:
        scale: Tensor = self.network.logit_scale  # type: ignore[assignment]
        return scale

    def images(self, pixel_values: Tensor) -> Tensor:
        """pixel_values (B, channels, height, width) -> (B, D)."""
        return unit(_pooled(self.network.get_image_features(pixel_values=pixel_values)))  # type: ignore[operator]

    def texts(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B, T), attention_mask (B, T) 1 or 0 -> (B, D)."""
        found = self.network.get_text_features(  # type: ignore[operator]
            input_ids=input_ids, attention_mask=attention_mask
        )
        return unit(_pooled(found))


def _pooled(output: Tensor) -> Tensor:
    pooled: Tensor = getattr(output, "pooler_output", output)
    return pooled


def unit(vectors_BD: Tensor) -> Tensor:
    """Of length one, in fp32 whatever the products before were computed in."""
    return nn.functional.normalize(vectors_BD.float(), dim=-1)


def contrast(images_BD: Tensor, texts_BD: Tensor, scale: Tensor, together_BB: Tensor, smoothing: float) -> Tensor:
    """The symmetric cross-entropy of finding each picture's text in the batch, and each text's picture.

    Source: InfoNCE of van den Oord et al. (2018) as CLIP has it; where a batch holds several right ones each is wanted
    equally.

    Args:
        together_BB: 1 where picture and text belong together, else 0, float.
    """
    with torch.autocast(images_BD.device.type, enabled=False):
        logits_BB = scale.float().clamp(max=HIGHEST).exp() * images_BD @ texts_BD.T
        loss = torch.zeros((), device=logits_BB.device)
        for logits, wanted in ((logits_BB, together_BB), (logits_BB.T, together_BB.T)):
            target = wanted / wanted.sum(1, keepdim=True)
            loss = loss + nn.functional.cross_entropy(logits, target, label_smoothing=smoothing) / 2
    return loss


class Both(nn.Module):
    """Both towers as one graph, for an exporter: pictures and texts have axes of their own."""

    def __init__(self, towers: TwoTower | OpenTowers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.towers.images(pixel_values), self.towers.texts(input_ids, attention_mask)
