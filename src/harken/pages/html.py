"""Build self-contained HTML pages: one file, no network access, light and dark mode, readable on a phone.

document                     the whole page, from a title, facts and sections
Section                      a section of the page, with a link in the navigation
note, grid, stack, entry, card, details    the content of a section
table, Sorted                a table that sorts by a column when its header is clicked
pairs                        a table of names and values
listing                      preformatted text
breakable, path_name         a name that may wrap after / and _; such a name for a table cell
player                       a play button for audio samples
Html, escape                 markup, and plain text escaped for it

Every function takes plain text and escapes it. Only `Html` is inserted unchanged.
"""

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray

# name: (light, dark). Figures are drawn in the light colors, which are readable in a dark notebook too. Colors that a figure
# may need in both modes, such as pure white, must not be used here: they would be replaced.
COLORS = {
    "paper": ("#fafaf8", "#15171b"),
    "card": ("#fefefe", "#1c1f25"),
    "ink": ("#1c2028", "#e6e8ec"),
    "soft": ("#6a7381", "#9ba4b1"),
    "line": ("#dfe2e6", "#31363e"),
    "accent": ("#5459b5", "#8f96ee"),
    "second": ("#c2683a", "#e39566"),
}
_NUMBER = ' class="number"'

# Content that scrolls sideways has shadows at its edges. At either end of the content, layers that scroll with it cover them.
_STYLE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue","Liberation Sans",Arial,sans-serif;font-variant-numeric:tabular-nums}
main,header,footer{max-width:1112px;margin:0 auto;padding:0 20px}
header{padding-top:44px}
h1{font-size:30px;line-height:1.2;letter-spacing:-.015em;font-weight:650;margin:0;overflow-wrap:anywhere}
h2{font-size:21px;line-height:1.3;letter-spacing:-.01em;font-weight:650;margin:0 0 4px}
h3{font-size:16px;line-height:1.4;font-weight:600;margin:0;overflow-wrap:anywhere}
p{margin:0;max-width:56em}
.kicker,.note,.aside,footer{color:var(--soft);font-size:14px}
.kicker{margin-bottom:4px}
.lead{color:var(--soft);margin-top:8px}
section{margin-top:56px;scroll-margin-top:20px}
section>.note{font-size:15px}
section>*+*{margin-top:16px}
section>h2+.note{margin:0 0 20px}
.grid>*{min-width:0}
nav{display:flex;flex-wrap:wrap;gap:4px 20px;margin-top:24px;font-size:14px}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
dl.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(118px,1fr));gap:16px 20px;margin:28px 0 0;
padding:18px 0;border:solid var(--line);border-width:1px 0}
.facts dt{color:var(--soft);font-size:13px;line-height:1.4}
.facts dd{margin:0;font-size:22px;line-height:1.3;font-weight:600;letter-spacing:-.01em}
.facts div{display:flex;flex-direction:column-reverse;justify-content:flex-end}
.grid{display:grid;gap:20px;align-items:start}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px;min-width:0}
.entry{display:flex;align-items:center;gap:12px}
.entry>div{min-width:0;flex:1}
.card>*+*{margin-top:12px}
.card .grid h3{font-size:15px;font-weight:500}
.aside{font-size:13px;line-height:1.4;overflow-wrap:anywhere}
svg.figure{display:block;width:100%;height:auto;overflow:visible;stroke-linejoin:round;stroke-linecap:butt}
body{--ground:var(--paper)}.card,pre{--ground:var(--card)}
.scroll{overflow-x:auto;--shade:rgba(106,115,129,.5);--high:calc(100% - 2px);
background:linear-gradient(90deg,var(--ground) 30%,transparent) 0/40px 100%,
linear-gradient(270deg,var(--ground) 30%,transparent) 100%/40px 100%,
linear-gradient(90deg,var(--shade),transparent) 0/14px var(--high),
linear-gradient(270deg,var(--shade),transparent) 100%/14px var(--high);
background-repeat:no-repeat;background-attachment:local,local,scroll,scroll}
pre{margin:0;padding:12px 16px;border:1px solid var(--line);border-radius:10px;font:13px/1.5 ui-monospace,"SFMono-Regular",Menlo,
"Liberation Mono",monospace}
pre.scroll{background-color:var(--ground)}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:14px;line-height:1.4}
.scroll td:first-child,.scroll th:first-child{position:sticky;left:0;background:var(--ground)}
.moved td:first-child,.moved th:first-child{box-shadow:inset -1px 0 var(--shade)}
.path{display:inline-block;min-width:min(16em,45vw)}
th,td{text-align:left;padding:6px 16px 6px 0;border-bottom:1px solid var(--line);vertical-align:middle;overflow-wrap:anywhere}
th{font-weight:500;color:var(--soft);white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
th.number,td.number{text-align:right;white-space:nowrap}
td{min-width:9em}td.number{min-width:0}td:first-child{min-width:7em}th[scope=row]{white-space:normal;min-width:7em}
th button{all:unset;cursor:pointer;color:inherit}th button:hover{color:var(--ink)}
th button::after,th.number button::before{content:var(--arrow,"");display:inline-block;width:1em;text-align:center}
th.number button::after{display:none}th[aria-sort=ascending] button::after,th[aria-sort=ascending] button::before{--arrow:"↑"}
th[aria-sort=descending] button::after,th[aria-sort=descending] button::before{--arrow:"↓"}
summary{cursor:pointer;font-size:14px}summary:hover{color:var(--accent)}
details>:not(summary){margin-top:12px}
.play{flex:none;width:36px;height:36px;padding:0;border:1px solid var(--line);border-radius:50%;background:none;
color:var(--accent);cursor:pointer;display:inline-grid;place-items:center;vertical-align:middle}
.play:hover{border-color:var(--accent)}
.play.on{background:var(--accent);border-color:var(--accent);color:var(--card)}
.play svg{width:14px;height:14px;fill:currentColor}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
footer{margin-top:56px;padding-top:16px;padding-bottom:40px}
@media (max-width:560px){header{padding-top:28px}h1{font-size:25px}section{margin-top:44px}.card{padding:14px 12px}
main,header,footer{padding-left:16px;padding-right:16px}dl.facts{grid-template-columns:repeat(3,1fr)}.facts dd{font-size:17px}}
@media print{.play,nav{display:none}.card{break-inside:avoid}}
"""

# Without scripts, the browser's own audio controls replace the round buttons, and tables cannot be sorted.
_SCRIPT = """
for (const audio of document.querySelectorAll("audio.clip")) {
  const button = document.createElement("button"), shape = d => `<svg viewBox="0 0 14 14"><path d="${d}"/></svg>`;
  const show = on => { button.classList.toggle("on", on); button.innerHTML = shape(on ? "M2 2h10v10H2z" : "M3 1l10 6-10 6z"); };
  button.className = "play"; button.type = "button"; button.ariaLabel = "Play " + audio.title; button.title = audio.title;
  button.onclick = () => {
    const start = audio.paused;
    document.querySelectorAll("audio.clip").forEach(other => other.pause());
    if (start) { audio.currentTime = 0; audio.play(); }
  };
  audio.onplay = () => show(true); audio.onpause = audio.onended = () => show(false);
  audio.controls = false; show(false); audio.after(button);
}
for (const box of document.querySelectorAll(".scroll")) box.onscroll = () => box.classList.toggle("moved", box.scrollLeft > 0);
for (const table of document.querySelectorAll("table.sortable")) table.querySelectorAll("th").forEach((head, column) => {
  if (!head.textContent) return;
  const button = document.createElement("button");
  button.append(...head.childNodes); head.append(button);
  button.onclick = () => {
    const numeric = head.classList.contains("number"), before = head.ariaSort;
    const down = before ? before === "ascending" : numeric;
    const order = row => { const cell = row.cells[column]; return cell.dataset.order ?? cell.textContent; };
    const less = (a, b) => numeric ? order(a) - order(b) : order(a).localeCompare(order(b));
    table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => down ? less(b, a) : less(a, b)));
  };
});
"""


class Html(str):
    """Markup, which is inserted into the page unchanged."""

    __slots__ = ()


def escape(text: str) -> Html:
    """Escape plain text for a page; return `Html` unchanged. Bytes of file names that are not UTF-8 become a question mark."""
    return text if isinstance(text, Html) else Html(html.escape(text.encode("utf-8", "replace").decode()))


@dataclass(frozen=True)
class Section:
    """A section of the page: a heading with a link in the navigation, a line of explanation, and the parts below it."""

    heading: str
    parts: Sequence[Html]
    note: str = ""


def document(
    title: str, sections: Sequence[Section], *, kicker: str = "", lead: str = "", facts: Sequence[tuple[str, str]] = ()
) -> Html:
    """Build the whole page.

    Parameters
    ----------
    title
        Title of the page.
    sections
        Its sections.
    kicker
        Small line above the title.
    lead
        Line below the title.
    facts
        (name, value) pairs in large type below the title.
    """
    links = _join(f'<a href="#part-{i}">{escape(section.heading)}</a>' for i, section in enumerate(sections))
    pairs = _join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    body = _join(
        f'<section id="part-{i}"><h2>{escape(section.heading)}</h2>{note(section.note)}{_join(section.parts)}</section>'
        for i, section in enumerate(sections)
    )
    return Html(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title><style>{_palette()}{_STYLE}</style>'
        f'</head><body><header><p class="kicker">{escape(kicker)}</p><h1>{escape(title)}</h1>'
        f'<p class="lead">{escape(lead)}</p><dl class="facts">{pairs}</dl><nav>{links}</nav></header>'
        f"<main>{body}</main><footer>Written by harken.</footer><script>{_SCRIPT}</script></body></html>\n"
    )


def note(text: str) -> Html:
    """Return a line of small, soft text, or nothing for empty text."""
    return Html(f'<p class="note">{escape(text)}</p>' if text else "")


def grid(parts: Iterable[Html], *, min_width_px: int) -> Html:
    """Arrange parts side by side, with as many in a row as fit at `min_width_px` each."""
    columns = f"repeat(auto-fill,minmax(min(100%,{min_width_px}px),1fr))"
    return Html(f'<div class="grid" style="grid-template-columns:{columns}">{_join(parts)}</div>')


def stack(parts: Iterable[Html]) -> Html:
    """Arrange parts below each other."""
    return Html(f'<div class="grid">{_join(parts)}</div>')


def entry(heading: str, *, aside: str = "", button: Html | None = None) -> Html:
    """Return a heading with a soft line below it, and a button (such as a player) in front."""
    below = Html(f'<div class="aside">{escape(aside)}</div>' if aside else "")
    return Html(f'<div class="entry">{button or ""}<div><h3>{escape(heading)}</h3>{below}</div></div>')


def card(heading: str, *parts: Html, aside: str = "", button: Html | None = None) -> Html:
    """Return a frame with an entry on top and the parts below it."""
    return Html(f'<div class="card">{entry(heading, aside=aside, button=button)}{_join(parts)}</div>')


def details(summary: str, *parts: Html, is_open: bool = False) -> Html:
    """Return a line that expands to show the parts."""
    return Html(f"<details{' open' * is_open}><summary>{escape(summary)}</summary>{_join(parts)}</details>")


@dataclass(frozen=True, slots=True)
class Sorted:
    """A table cell that is sorted by a number instead of its text."""

    text: str
    value: float


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Sorted]]) -> Html:
    """Return a table that sorts by a column when its header is clicked. `Sorted` cells are aligned to the right."""
    first = rows[0] if rows else [""] * len(columns)
    heads = _join(
        f'<th scope="col"{_NUMBER * isinstance(cell, Sorted)}>{escape(name)}</th>'
        for name, cell in zip(columns, first, strict=True)
    )
    body = _join(f"<tr>{_join(map(_cell, row))}</tr>" for row in rows)
    return Html(
        f'<div class="scroll"><table class="sortable"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def pairs(rows: Iterable[tuple[str, str]]) -> Html:
    """Return a table of names and values."""
    body = _join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    return Html(f'<div class="scroll"><table><tbody>{body}</tbody></table></div>')


def listing(text: str) -> Html:
    """Return preformatted text."""
    return Html(f'<pre class="scroll">{escape(text)}</pre>')


def breakable(name: str) -> Html:
    """Return the name of a file or folder, which wraps after / and _ before it wraps within a word."""
    return Html(re.sub("[/_]+", r"\g<0><wbr>", escape(name)))


def path_name(path: str) -> Html:
    """Return a path for a table cell, with a minimum width that keeps it readable."""
    return Html(f'<span class="path">{breakable(path)}</span>')


def _cell(content: str | Sorted) -> str:
    if isinstance(content, Sorted):
        order = str(content.value).replace("inf", "Infinity")  # the spelling of JavaScript
        return f'<td{_NUMBER} data-order="{order}">{escape(content.text)}</td>'
    return f"<td>{escape(content)}</td>"


def player(samples: NDArray[np.float32], sample_rate: int, *, label: str) -> Html:
    """Return a play button that contains the audio as 16-bit FLAC.

    Parameters
    ----------
    samples
        Mono audio, full scale 1.0, [samples].
    sample_rate
        In Hz.
    label
        Description of the audio.
    """
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1.0, 1.0), sample_rate, format="FLAC", subtype="PCM_16")
    source = "data:audio/flac;base64," + base64.b64encode(file.getvalue()).decode()
    return Html(f'<audio class="clip" controls preload="none" title="{escape(label)}" src="{source}"></audio>')


def _palette() -> str:
    def values(side: int) -> str:
        return "".join(f"--{name}:{pair[side]};" for name, pair in COLORS.items())

    return f":root{{color-scheme:light dark;{values(0)}}}@media (prefers-color-scheme:dark){{:root{{{values(1)}}}}}"


def _join(parts: Iterable[str]) -> str:
    return "".join(parts)
