"""Figures for a page: matplotlib in the page's COLOURS, and SVG that follows them when the page turns dark.

new_figure, style_axes    an empty figure; the page's look for its axes
contrast, blend           how well one colour stands out from another; a colour seen through
figure_svg                a figure -> SVG in the page
"""

import base64
import hashlib
import io
import re

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from harken.pages.html import COLOURS, Html, escape

FONT_PT = 8.5  # in a figure at its own width: about 11 px on the page


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21, as WCAG 2 defines it."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def blend(colour: str, ground: str, alpha: float) -> str:
    """Return the colour that is seen where `colour` lies over `ground` with opacity `alpha`."""
    red, green, blue = (1 - alpha) * np.array(to_rgb(ground)) + alpha * np.array(to_rgb(colour))
    return to_hex((red, green, blue))


def _luminance(colour: str) -> float:
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def new_figure(width_px: float, height_px: float) -> Figure:
    """Return an empty matplotlib figure with transparent ground, laid out by constraints; sizes in CSS pixels."""
    return Figure((width_px / 96, height_px / 96), dpi=144, facecolor="none", layout="constrained")


def style_axes(axes: Axes, *, grid: bool = False) -> None:
    """Give axes the page's look: quiet lines, soft ink, and, where asked, lines across at the ticks of y."""
    soft = COLOURS["soft"][0]
    line = (soft, 0.35)  # through which any ground shines
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
    """Return a figure as SVG that follows the page's colours and font. label : what a screen reader says of it."""
    file = io.StringIO()
    dpi = figure.dpi
    with rc_context({"svg.fonttype": "none"}):
        # The canvas itself, since savefig draws everything twice.
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})  # type: ignore[no-untyped-call]
    figure.dpi = dpi
    drawing = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", file.getvalue(), flags=re.DOTALL)
    drawing = re.sub(r"data:image/png;base64,([^\"]+)", lambda found: _smaller_png(found[1]), drawing)
    drawing = re.sub(r' font-family: [^;"]*;| transform="rotate\(-0 [^"]*"|<g id="[^"]*"', _shortened, drawing)
    for name, (light, _) in COLOURS.items():
        drawing = drawing.replace(f": {light}", f": var(--{name})")
    size = re.search(r'viewBox="[^"]*"', drawing)
    opening = f'<svg class="figure" role="img" aria-label="{escape(label)}" {size[0] if size else ""}>'
    drawing = opening + drawing[drawing.index(">", drawing.index("<svg")) + 1 :]
    return Html(_own_names(re.sub(r"\s*\n\s*", " ", drawing).replace("> <", "><")))


def _shortened(found: re.Match[str]) -> str:
    return "<g" if found[0].startswith("<g") else ""


def _smaller_png(encoded: str) -> str:
    """Return the data URI of a picture with a palette, where its colours are few: matplotlib writes 32 bits a pixel."""
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA")
    pixels = np.asarray(image).reshape(-1, 4).view(np.uint32)
    colours, index = np.unique(pixels, return_inverse=True)
    file = io.BytesIO()
    if len(colours) <= 256:
        levels = colours.view(np.uint8).reshape(-1, 4)
        image = Image.fromarray(index.reshape(image.height, image.width).astype(np.uint8), "P")
        image.putpalette(levels[:, :3].tobytes())
        image.save(file, "PNG", optimize=True, transparency=levels[:, 3].tobytes())
    else:
        image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _own_names(drawing: str) -> str:
    """Rename what a drawing defines after its content: two drawings on a page never clash, and none changes by chance."""
    order = {name: i for i, name in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', drawing)))}

    def renamed(prefix: str) -> str:
        return re.sub(
            r'(\bid="|href="#|url\(#)([^")]+)',
            lambda found: f"{found[1]}{prefix}{order[found[2]]}" if found[2] in order else found[0],
            drawing,
        )

    return renamed("f" + hashlib.blake2b(renamed("").encode(), digest_size=6).hexdigest() + "-")
