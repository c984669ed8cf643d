"""extractors: how an open model of the transformers library turns samples into its input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.workbench.engine.processors import PROCESSOR as PROCESSOR
from modelcommons.workbench.engine.processors import open_processor


def read_extractor(folder: Path) -> Any:
    """The feature extractor of an open model.

    Raises:
        FormatError: there is none that loads without running code.
    """
    from transformers import AutoFeatureExtractor

    return open_processor(AutoFeatureExtractor, folder, "a feature extractor")


def extracted(extractor: Any) -> Callable[[np.ndarray], np.ndarray]:
    """float32 (B, N) at the extractor's rate -> its first input: samples (B, N), or features (B, ...)."""

    def inputs(samples: np.ndarray) -> np.ndarray:
        made = extractor(list(samples), sampling_rate=extractor.sampling_rate, return_tensors="np")
        return np.asarray(made[extractor.model_input_names[0]], np.float32)

    return inputs
