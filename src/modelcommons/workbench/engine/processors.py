"""processors: what makes inputs for an open model, and how that of pictures does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.workbench.engine.adapters import quiet

PROCESSOR = "preprocessor_config.json"


def read_processor(folder: Path) -> Any:
    """The image processor of an open model.

    Raises:
        FormatError: there is none.
    """
    from transformers import AutoImageProcessor

    return open_processor(AutoImageProcessor, folder, "an image processor")


def open_processor(auto: Any, folder: Path, what: str) -> Any:
    """What makes inputs for an open model.

    Args:
        auto: the library's class for processors of this kind.
        what: it is, in a message: an image processor.

    Raises:
        FormatError: there is none that loads without running code.
    """
    with quiet():
        try:
            return auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise FormatError(
                f"Expected {PROCESSOR} of {what} in {folder}, found none that loads ({error!s:.200})."
            ) from error


def processor_inputs(processor: Any) -> Callable[[np.ndarray], np.ndarray]:
    """How an open model's processor makes inputs; gray pictures become three equal channels."""

    def inputs(pictures: np.ndarray) -> np.ndarray:
        colored = np.repeat(pictures, 3, axis=3) if pictures.shape[3] == 1 else pictures
        made = processor(images=list(colored), return_tensors="np", input_data_format="channels_last")
        return np.asarray(made["pixel_values"], np.float32)

    return inputs
