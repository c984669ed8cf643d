"""acoustic: characters through convolutions to durations, and at those durations to log-mel frames, all at once.

Source: Ren et al., FastSpeech (2019) and FastSpeech 2 (2021), with convolutions as in Shih et al., RAD-TTS (2021), and
durations from an alignment that is learned together with the rest (see alignment).
"""

# B batch, T frames, M mel bands, L characters, W width, A channels in which characters and frames are compared

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from modelcommons.workbench.fields.speech.speaking.alignment import BLANK, NEVER, forward_sum, monotonic
from modelcommons.workbench.fields.speech.speaking.architectures import AcousticOptions

SIZE = 5  # of a convolution
COMPARED = 64  # channels
SHARPNESS, PHONETIC_SHARPNESS = 0.005, 0.05  # of a comparison
FEWEST, MOST = 1, 200  # frames of a character that is spoken
DURATIONS, ALIGNMENT = 0.1, 0.1  # weights of their losses beside that of the frames


class Block(nn.Module):
    """A convolution added to what comes in."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, width, SIZE, padding=SIZE // 2)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BWT: Tensor, inside: Tensor) -> Tensor:
        """
        Args:
            inside: 1 for what belongs to a row, else 0; float (B, 1, T).
        """
        made = self.norm(self.convolution(x_BWT).relu().transpose(1, 2)).transpose(1, 2)
        found: Tensor = (x_BWT + self.dropout(made)) * inside
        return found


class Acoustic(nn.Module):
    def __init__(self, options: AcousticOptions, num_characters: int, num_speakers: int) -> None:
        super().__init__()
        width = options.width
        self.characters = nn.Embedding(num_characters + 1, width, padding_idx=0)
        self.speakers = nn.Embedding(max(1, num_speakers), width)
        nn.init.normal_(self.characters.weight, 0, 0.5)
        nn.init.normal_(self.speakers.weight, 0, 0.3)
        self.encoder = nn.ModuleList(Block(width, options.dropout) for _ in range(options.encoder))
        self.lengths = nn.ModuleList(Block(width, options.dropout) for _ in range(2))
        self.length = nn.Linear(width, 1)
        self.place = nn.Linear(3, width)
        self.decoder = nn.ModuleList(Block(width, options.dropout) for _ in range(options.decoder))
        self.head = nn.Linear(width, options.mels)
        self.phonetic, size = options.phonetic, 1 if options.phonetic else 3
        self.keys = nn.Sequential(
            nn.Conv1d(width, width, size, padding=size // 2), nn.ReLU(), nn.Conv1d(width, COMPARED, 1)
        )
        self.queries = nn.Sequential(
            nn.Conv1d(options.mels, width, 3, padding=1), nn.ReLU(), nn.Conv1d(width, COMPARED, 1)
        )

    # --- parts ---

    def encoded(self, labels: Tensor, speakers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Characters in their surroundings (B, W, L), logarithms of their durations in frames (B, L), and which are
        characters at all (B, 1, L).

        Args:
            labels: int64 (B, L), 0 beyond the text.
            speakers: int64 (B,).
        """
        inside = (labels > 0).float()[:, None]
        x_BWL = (self.characters(labels) + self.speakers(speakers)[:, None]).transpose(1, 2) * inside
        for block in self.encoder:
            x_BWL = block(x_BWL, inside)
        found = x_BWL.detach()  # as in FastSpeech: durations do not shape what is said
        for block in self.lengths:
            found = block(found, inside)
        return x_BWL, self.length(found.transpose(1, 2))[:, :, 0], inside

    def decoded(self, x_BWL: Tensor, durations: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, M) of characters that take so many frames each, (B, L); and which are frames at all (B, T)."""
        ends = durations.cumsum(1)
        total = ends[:, -1]
        frames = torch.arange(int(total.max()), device=durations.device)
        begun = (frames[None, :, None] >= (ends - durations)[:, None]).float()
        ended = (frames[None, :, None] >= ends[:, None]).float()
        which = begun - ended  # (B, T, L): 1 where the frame belongs to the character
        inside = (frames < total[:, None]).float()
        passed = (frames[None, :, None] - (ends - durations)[:, None] + 0.5) * which
        passed_BT, length_BT = passed.sum(2), (which * durations[:, None]).sum(2)
        share = passed_BT / length_BT.clamp(min=1)
        place = torch.stack([share, 1 - share, length_BT.clamp(min=1).log()], 2)
        x_BTW = which @ x_BWL.transpose(1, 2) + self.place(place)
        x_BWT = x_BTW.transpose(1, 2) * inside[:, None]
        for block in self.decoder:
            x_BWT = block(x_BWT, inside[:, None])
        return self.head(x_BWT.transpose(1, 2)), inside

    def energies(self, labels: Tensor, features: Tensor, prior: Tensor) -> Tensor:
        """How well each character goes with each frame, (B, T, L)."""
        keys_BAL = self.keys(self.characters(labels).transpose(1, 2))
        queries_BAT = self.queries(features.transpose(1, 2))
        with torch.autocast(features.device.type, enabled=False):
            keys_BLA, queries_BTA = keys_BAL.float().transpose(1, 2), queries_BAT.float().transpose(1, 2)
            far = queries_BTA.pow(2).sum(2, keepdim=True) - 2 * queries_BTA @ keys_BLA.transpose(1, 2)
            far = far + keys_BLA.pow(2).sum(2)[:, None]
            inside = labels > 0
            sharpness = PHONETIC_SHARPNESS if self.phonetic else SHARPNESS
            found: Tensor = (-sharpness * far).masked_fill(~inside[:, None], NEVER).log_softmax(2) + prior
            return found

    # --- training ---

    def losses(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """What the voice learns from, summed over frames, characters and rows; see `fitting.Batches`."""
        labels, speakers, features, frames, prior = batch
        characters = (labels > 0).sum(1)
        energies = self.energies(labels, features, prior)
        found = monotonic(energies.detach().cpu().double().numpy(), frames.cpu().numpy(), characters.cpu().numpy())
        durations = torch.from_numpy(found).to(labels.device)
        x_BWL, logarithms, inside = self.encoded(labels, speakers)
        made, is_frame = self.decoded(x_BWL, durations)
        far = l1_loss(made.float(), features[:, : made.shape[1]], reduction="none").mean(2)
        spoken = (far * is_frame).sum()
        wrong = mse_loss(logarithms.float(), durations.clamp(min=1).float().log(), reduction="none")
        timed = (wrong * inside[:, 0]).sum()
        aligned = forward_sum(energies, frames, characters, NEVER if self.phonetic else BLANK)
        return spoken, DURATIONS * timed, ALIGNMENT * aligned

    # --- speaking ---

    def forward(self, labels: Tensor, speakers: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (1, T, M) of one text, and how many of them each character takes, int64 (1, L)."""
        x_BWL, logarithms, _ = self.encoded(labels, speakers)
        durations = logarithms.float().exp().round().clamp(FEWEST, MOST).long()
        return self.decoded(x_BWL, durations)[0].float(), durations
