"""drawing: figures as SVG whose letters stay letters, and that can stand several in one page."""

from __future__ import annotations

import base64
import html
import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT, PALE = "#1f3a5f", "#c8553d", "#7a8796"
COLORS = (INK, ACCENT, "#4f8a5b", "#b8892b", "#6b5b95", "#2a9d9d")

STYLE: Any = {
    "svg.fonttype": "none",  # letters stay letters: any viewer's fonts show them, Chinese ones too
    "svg.hashsalt": "modelcommons",  # the same figure gives the same bytes
    "text.parse_math": False,  # a label with two dollar signs is no formula
    "font.size": 9,
    "axes.edgecolor": PALE,
    "axes.labelcolor": "#333333",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
}


def svg(draw: Callable[[Figure], None], width: float, height: float) -> str:
    """What `draw` draws on a figure of `width` times `height` inches."""
    import matplotlib
    from matplotlib.figure import Figure

    out = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # only measured with our font; the viewer has others
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def plain(axes: Axes) -> None:
    """Takes the frame away where it tells nothing."""
    axes.spines[["top", "right"]].set_visible(False)


USES = re.compile(r'(\sid="|href="#|url\(#)(?=[^")]+["\)])')


def unique(drawing: str, prefix: str) -> str:
    """The drawing with every id, and every use of one, under `prefix`: several can then stand in one page."""
    return USES.sub(rf"\g<1>{prefix}-", drawing)


def patched(picture: np.ndarray, weights: np.ndarray, side: int, title: str, shown: int, over: str = "") -> str:
    """A picture, and beside it the same with its square patches coloured: warm where they weigh, cold where against.

    Args:
        picture: uint8 (height, width, 1 or 3).
        weights: of each patch, row by row, -1 to 1.
        side: of a patch, in pixels of the picture.
        shown: height of the drawing, in pixels of the screen.
        over: SVG that is drawn over the first of the two, in pixels of the picture.
    """
    height, width = picture.shape[:2]
    columns = -(-width // side)
    data = picture_data(picture)
    image = f'<image width="{width}" height="{height}" style="image-rendering:pixelated" href="{data}"/>'
    patches = "".join(
        f'<rect x="{at % columns * side}" y="{at // columns * side}" width="{side}" '
        f'height="{side}" fill="{ACCENT if weight > 0 else INK}" opacity="{abs(weight) * 0.8:.2f}"/>'
        for at, weight in enumerate(weights.tolist())
    )
    gap = width / 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" height="{shown}" '
        f'viewBox="0 0 {2 * width + gap:g} {height}"><title>{html.escape(title)}</title>{image}{over}'
        f'<svg x="{width + gap:g}" width="{width}" height="{height}">{image}{patches}</svg></svg>'
    )


def picture_data(picture: np.ndarray) -> str:
    """A picture as a `data:` address."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(out, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
