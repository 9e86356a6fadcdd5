"""Draw figures for a page: matplotlib in the page's colors, and SVG that follows the page's light and dark mode.

new_figure    an empty figure
style_axes    give axes the look of the page
contrast      the contrast ratio of two colors
blend         a transparent color over a background
figure_svg    convert a figure to SVG for the page
"""

import base64
import hashlib
import io
import re
import warnings
from functools import lru_cache

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from PIL import Image

from harken.pages.html import COLORS, Html, escape

# Fonts with Chinese, Japanese, Korean or Indian scripts, as they are called on Linux, macOS and Windows.
_MORE_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Droid Sans Fallback", "WenQuanYi Zen Hei"),
    *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Arial Unicode MS", "Kohinoor Devanagari"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Nirmala UI", "Noto Sans Devanagari", "Noto Sans Thai"),
)
FONT_PT = 8.5  # about 11 px on the page, in a figure that is not scaled


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colors by WCAG 2, from 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def blend(color: str, background: str, alpha: float) -> str:
    """Return the visible color where `color` with opacity `alpha` is drawn over `background`."""
    red, green, blue = (1 - alpha) * np.array(to_rgb(background)) + alpha * np.array(to_rgb(color))
    return to_hex((red, green, blue))


def _luminance(color: str) -> float:
    channels = np.array(to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def new_figure(width_px: float, height_px: float) -> Figure:
    """Return an empty matplotlib figure with a transparent background and constrained layout. Sizes are CSS pixels."""
    return Figure((width_px / 96, height_px / 96), dpi=144, facecolor="none", layout="constrained")


def style_axes(axes: Axes, *, grid: bool = False) -> None:
    """Give axes the look of the page: faint lines and soft text. With `grid`, add horizontal lines at the ticks of y."""
    soft = COLORS["soft"][0]
    line = (soft, 0.35)  # transparent, to fit any background
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set(color=line, linewidth=0.8)
    axes.tick_params(which="both", color=line, labelcolor=soft, labelsize=FONT_PT, length=3, width=0.8)
    axes.tick_params(which="minor", length=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=soft, fontsize=FONT_PT)
    if grid:
        axes.grid(axis="y", color=soft, alpha=0.22, linewidth=0.8)
        axes.set_axisbelow(True)


def figure_svg(figure: Figure, *, label: str) -> Html:
    """Return a figure as SVG that follows the page's colors and font.

    Parameters
    ----------
    figure
        The figure.
    label
        Description for screen readers.
    """
    file = io.StringIO()
    dpi = figure.dpi
    with rc_context({"svg.fonttype": "none", "font.sans-serif": _fonts()}), warnings.catch_warnings():
        # A font only gives the widths: the browser draws the text, in fonts of its own.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # Not savefig, which draws everything twice.
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})  # type: ignore[no-untyped-call]
    figure.dpi = dpi
    drawing = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", file.getvalue(), flags=re.DOTALL)
    drawing = re.sub(r"data:image/png;base64,([^\"]+)", lambda found: _smaller_png(found[1]), drawing)
    drawing = re.sub(r' font-family: [^;"]*;| transform="rotate\(-0 [^"]*"|<g id="[^"]*"', _shortened, drawing)
    for name, (light, _) in COLORS.items():
        drawing = drawing.replace(f": {light}", f": var(--{name})")
    size = re.search(r'viewBox="[^"]*"', drawing)
    opening = f'<svg class="figure" role="img" aria-label="{escape(label)}" {size[0] if size else ""}>'
    drawing = opening + drawing[drawing.index(">", drawing.index("<svg")) + 1 :]
    return Html(_unique_ids(re.sub(r"\s*\n\s*", " ", drawing).replace("> <", "><")))


@lru_cache(maxsize=1)
def _fonts() -> list[str]:
    """Return matplotlib's own font, and after it an installed one for each script that it lacks."""
    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _MORE_FONTS if name in installed)]


def _shortened(found: re.Match[str]) -> str:
    return "<g" if found[0].startswith("<g") else ""


def _smaller_png(encoded: str) -> str:
    """Return an image as a data URI, with a palette if it has few colors: matplotlib writes 32 bits per pixel."""
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA")
    pixels = np.asarray(image).reshape(-1, 4).view(np.uint32)
    colors, index = np.unique(pixels, return_inverse=True)
    file = io.BytesIO()
    if len(colors) <= 256:
        levels = colors.view(np.uint8).reshape(-1, 4)
        image = Image.fromarray(index.reshape(image.height, image.width).astype(np.uint8), "P")
        image.putpalette(levels[:, :3].tobytes())
        image.save(file, "PNG", optimize=True, transparency=levels[:, 3].tobytes())
    else:
        image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _unique_ids(drawing: str) -> str:
    """Rename the ids of a drawing after its content: ids of two drawings never clash, and equal drawings are equal text."""
    order = {name: i for i, name in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', drawing)))}

    def renamed(prefix: str) -> str:
        return re.sub(
            r'(\bid="|href="#|url\(#)([^")]+)',
            lambda found: f"{found[1]}{prefix}{order[found[2]]}" if found[2] in order else found[0],
            drawing,
        )

    return renamed("f" + hashlib.blake2b(renamed("").encode(), digest_size=6).hexdigest() + "-")
