"""extractors: how an open model of the transformers library turns samples into its input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import FormatError

PROCESSOR = "preprocessor_config.json"


def read_extractor(folder: Path) -> Any:
    """The feature extractor of an open model.

    Raises:
        FormatError: there is none that loads without running code.
    """
    from transformers import AutoFeatureExtractor

    from modelcommons.workbench.engine.adapters import quiet

    with quiet():
        try:
            return AutoFeatureExtractor.from_pretrained(  # type: ignore[no-untyped-call]
                folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise FormatError(
                f"Expected {PROCESSOR} of a feature extractor in {folder}, found none that loads ({error!s:.200})."
            ) from error


def extracted(extractor: Any) -> Callable[[np.ndarray], np.ndarray]:
    """float32 (B, N) at the extractor's rate -> its first input: samples (B, N), or features (B, ...)."""

    def inputs(samples: np.ndarray) -> np.ndarray:
        made = extractor(list(samples), sampling_rate=extractor.sampling_rate, return_tensors="np")
        return np.asarray(made[extractor.model_input_names[0]], np.float32)

    return inputs
