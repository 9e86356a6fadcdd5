"""The project's texts: American spelling, and none of the phrases that readers stumble over."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_TEXTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
]
_SOURCES = [
    path
    for folder in ("src", "benchmarks", "tools")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".js", ".html") and path.name != "sentences.py"  # which holds words to speak
]

# Typed wrongly on purpose in tests, a flag of numpy, an author, and an audio format.
_RIGHT_WORDS = "tutoral,tutoriel,writeable,berkley,caf"
# The key of a model file's metadata, names of the Web Audio API, a color of rich.
_RIGHT_NAMES = r"[`\"'.]licence\b|\w*[aA]nalyser\w*|grey\d+"

_PHRASES = {
    r"in the box": "bundled",
    r"whose voices": "which voices, speakers or engines",
    r"of all that is": "say which",
    r"unsays?": "cancels, suppresses",
    r"(?:is|are|was) asked of": "is required by",
    r"judge[sd]?|judging": "evaluate",
    r"learnt": "learned",
    r"whence": "where ... from",
    r"its owner": "the user",
    r"hears? (?:a|the) (?:stream|source|file|connection) out": "listen to",
    r"strangers": "unseen speakers",
    r"one's own": "your own",
    r"the same road": "the same steps",
    r"put right": "correct",
    r"forms? (?:that )?a model": "export formats",
    r"for so long": "for this time",
    r"else as many": "default:",
    r"as many as cores": "one per CPU core",
    r"every one of them": "each",
    r"and the mend": "and the fix",
    r"to mend (?:it|this|that)": "to fix",
    r"lies at": "is at",
    r"(?:is|are) brought to": "is converted to",
    r"that judge": "that evaluate",
    r"said of": "about",
    r"ask(?:s|ed)? over and over": "called repeatedly",
}
_PATTERNS = {re.compile(rf"\b(?:{phrase})\b", re.IGNORECASE): better for phrase, better in _PHRASES.items()}


def test_spelling_is_american() -> None:
    if importlib.util.find_spec("codespell_lib") is None:
        pytest.skip("the spelling is checked by codespell: pip install 'harken[dev]'")
    command = [sys.executable, "-m", "codespell_lib", "--builtin", "clear,rare,en-GB_to_en-US"]
    command += ["--skip", "*.onnx,*.png,*.svg,*.tsv,__pycache__,test_prose.py", "--ignore-words-list", _RIGHT_WORDS]
    command += ["--ignore-regex", _RIGHT_NAMES, "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    command += ["docs", "benchmarks", "notebooks", "src", "tests", "tools"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode in (0, 65), checked.stderr
    assert not checked.stdout, f"\n{checked.stdout}"


@pytest.mark.parametrize("path", [*_TEXTS, *_SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_phrase_that_readers_stumble_over(path: Path) -> None:
    found = [f"{path.relative_to(ROOT)}:{number}: say {better}" for number, better in _hits(path)]
    assert not found, "\n" + "\n".join(found)


def test_a_phrase_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Three models are in\nthe box.\n")
    assert _hits(page) == [(1, "bundled")]
    module = tmp_path / "module.py"
    module.write_text('"""Do it."""\njudged = 1\nprint(f"{judged} clips\\n\\nare judged")\n')
    assert _hits(module) == [(3, "evaluate")]


def _hits(path: Path) -> list[tuple[int, str]]:
    """Return the line of each phrase, and what to write instead."""
    return [
        (number, better) for number, text in _prose(path) for phrase, better in _PATTERNS.items() if phrase.search(text)
    ]


def _prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each paragraph, or of each text and comment of a program."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.lineno, _one_line(node.value)
        for number, line in enumerate(source.splitlines(), 1):
            if comment := re.search(r"(?:^|\s)#\s(.*)$", line):
                yield number, comment[1]
    elif path.suffix == ".js":
        for number, line in enumerate(source.splitlines(), 1):
            for text in re.findall(r"//\s(.*)$|\"((?:[^\"\\]|\\.)*)\"|`([^`]*)`", line):
                yield number, "".join(text)
    else:
        number = 1
        for part in re.split(r"(\n\s*\n)", source):
            yield number, _one_line(re.sub(r"`[^`]*`", "", part))
            number += part.count("\n")


def _one_line(text: str) -> str:
    return " ".join(text.split())
