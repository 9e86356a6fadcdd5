"""Hooks of mkdocs: put the benchmarks and the model cards on the site, and lead links between files to their pages.

Links in the project are written for a reader of the repository: ../../benchmarks/serve.md from docs/reference/limits.md.
On the site, which holds docs/ alone, the same link must lead to the page that shows the file.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
MOVED = {"docs/voices.md": "docs/how-to/make-a-corpus.md"}  # pages under the paths that model cards still name
_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
_FENCE = re.compile(r"^\s*(```|~~~)")
_CODE_OR_TAG = re.compile(r"(<pre\b.*?</pre>|<code\b.*?</code>|<[^>]+>)", re.DOTALL)
_BEFORE_A_UNIT = re.compile(r"(?<=\d)\s(?=%|(?:s|ms|dB|Hz|kHz|KB|MB|GB|M)\b)")
_INTERVAL = re.compile(r"\((\d[\d.]*(?: %)?) to (\d[\d.]*(?: %)?)\)")


def pages_outside_docs() -> dict[str, str]:
    """Return the pages that lie outside of docs/: path in the repository -> path on the site."""
    benchmarks = {f"benchmarks/{path.name}": f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("*.md")}
    weights = ROOT / "src" / "harken" / "weights"
    return benchmarks | {f"src/harken/weights/{path.name}": f"models/{path.name}" for path in weights.glob("*.md")}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/."""
    for path, page in pages_outside_docs().items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite links that leave a page's folder tree, so that they lead to pages of the site."""
    outside = pages_outside_docs()
    here = page.file.src_uri
    own = next((path for path, name in outside.items() if name == here), f"docs/{here}")
    lines, fenced = [], False
    for line in markdown.split("\n"):
        fenced ^= bool(_FENCE.match(line))
        lines.append(line if fenced else _LINK.sub(lambda link: _on_site(link, own, here, outside), line))
    return "\n".join(lines)


def on_page_content(html: str, **_: Any) -> str:
    """Keep a number and its unit on one line, and the two ends of an interval."""
    parts = _CODE_OR_TAG.split(html)
    parts[::2] = [_BEFORE_A_UNIT.sub("\u00a0", _INTERVAL.sub("(\\1\u00a0to\u00a0\\2)", part)) for part in parts[::2]]
    return "".join(parts)


def _on_site(link: re.Match[str], own: str, here: str, outside: dict[str, str]) -> str:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(own), link[2]))
    target = MOVED.get(target, target)
    if target in outside:
        target = outside[target]
    elif target.startswith("docs/") and own in outside:
        target = target.removeprefix("docs/")
    else:
        return link[0]
    return f"{link[1]}{posixpath.relpath(target, posixpath.dirname(here) or '.')}{link[3]}"
