"""The documentation: the site builds, its code runs, its commands exist, and its pages are found."""

import importlib.util
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

from browsing import serve_folder
from conftest import CORPUS_RATE, spoken

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_IDS = [str(page.relative_to(DOCS)) for page in PAGES]
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^ *```", re.DOTALL | re.MULTILINE)
_NO_RUN = re.compile(r"<!-- no-run: .+ -->\n *\Z")

QUESTIONS = {
    "how to change the false-alarm rate": "how-to/false-alarm-rate/",
    "where resampling happens": "explanation/front-end/",
    "how to add a network": "how-to/add-a-network/",
    "what a model file holds": "reference/model-file/",
    'how to stop the listener from hearing "no" in a sentence': "how-to/no-in-a-sentence/",
}
_SMALL_WORDS = {"a", "how", "in", "is", "it", "the", "to", "what", "where", "from"}


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _blocks(page: Path, *languages: str) -> Iterator[tuple[str, str]]:
    """Yield text before and code of each block in one of the languages, its indentation taken away."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        if found["language"] in languages:
            yield text[: found.start()], re.sub(f"^{found['indent']}", "", found["code"], flags=re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it: strict, so that a broken link fails."""
    for package in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the site needs {package}: pip install 'harken[docs]'")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    folder = tmp_path_factory.mktemp("site")
    try:
        build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    except Abort as error:
        pytest.fail(f"the site does not build strictly: run `mkdocs build --strict` to see why ({error})")
    return folder


def test_nothing_on_the_site_comes_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?(https?:)?//|<link[^>]*stylesheet[^>]*https?://")
    for page in site.rglob("*.html"):
        assert not loaded.search(page.read_text(encoding="utf-8")), page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:|@import", style.read_text(encoding="utf-8")), style


def test_light_and_dark(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    assert 'data-md-color-scheme="default"' in home
    assert 'data-md-color-scheme="slate"' in home


def _words(text: str) -> set[str]:
    words = re.findall(r"[a-z0-9]+", re.sub(r"<[^>]+>|&\w+;", " ", text.lower()))
    return {re.sub(r"(ing|s)$", "", word) if len(word) > 4 else word for word in words} - _SMALL_WORDS


@pytest.mark.parametrize(("question", "page"), QUESTIONS.items())
def test_a_question_finds_its_page(site: Path, question: str, page: str) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    asked = _words(question)
    titles = {entry["location"]: _words(entry["title"]) for entry in index if "#" not in entry["location"]}
    assert asked <= titles[page], f"the title lacks {asked - titles[page]}"
    better = [other for other, words in titles.items() if other != page and asked <= words]
    assert not better


def test_the_search_finds_the_page_first(site: Path, chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    found = {}
    with serve_folder(site) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        for question in QUESTIONS:
            page.goto(url)
            page.click(".md-search__input")
            page.keyboard.insert_text(question)
            page.keyboard.press("End")  # the first key that is released starts the search, for the whole question
            page.wait_for_selector(".md-search-result__meta:has-text('matching document')", timeout=60_000)
            first = page.locator(".md-search-result__item a").first.get_attribute("href")
            found[question] = first.partition("?")[0].removeprefix(url)
        browser.close()
    assert found == QUESTIONS


def test_every_page_is_reachable_and_named_once(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    titles = [entry["title"] for entry in index if "#" not in entry["location"]]
    assert len(titles) == len(PAGES) + len(_tool("docs_site").pages_outside_docs())
    assert len(set(titles)) == len(titles)


def test_the_public_names_are_in_the_reference(site: Path) -> None:
    import harken

    page = (site / "reference" / "python" / "index.html").read_text(encoding="utf-8")
    assert [name for name in harken.__all__ if f'id="harken.{name}"' not in page] == []


def test_the_generated_reference_is_up_to_date() -> None:
    old = [path.name for path, text in _tool("write_reference").pages().items() if path.read_text("utf-8") != text]
    assert old == [], "run: python tools/write_reference.py"


def test_the_generated_reference_is_whole() -> None:
    tool = _tool("write_reference")
    commands = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    for name, command in tool.commands():
        section = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", commands, re.DOTALL | re.MULTILINE)
        assert section, name
        options = [p.opts[0] for p in command.params if p.param_type_name == "option" and p.name != "help"]
        assert [option for option in options if f"`{option}`" not in section[1]] == []
    from harken.tasks.recipe import Recipe

    values = {field.name for field in fields(Recipe)} - {"name", "protocol"}
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", (DOCS / "reference" / "recipes.md").read_text(), re.MULTILINE)
    told = {name: text for name, text in rows if name in values}
    assert told.keys() == values
    assert [name for name, text in told.items() if not text.strip()] == []


def test_every_limit_is_told_with_its_default() -> None:
    from harken.serve.limits import Limits

    page = (DOCS / "reference" / "limits.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page, re.MULTILINE))
    assert rows.keys() == {field.name for field in fields(Limits)}
    for name, told in rows.items():
        assert re.search(rf"(?<!\d){getattr(Limits(), name):,.0f}(?!\d)", told), (name, told)


def test_every_listener_setting_is_told_with_its_default() -> None:
    from harken.runtime.listener_settings import ListenerSettings

    page = (DOCS / "explanation" / "listener.md").read_text(encoding="utf-8").partition("## Two stages")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page, re.MULTILINE))
    assert rows.keys() == {field.name for field in fields(ListenerSettings)}
    for name, told in rows.items():
        if name != "thresholds":
            assert float(told.replace(",", "")) == getattr(ListenerSettings(thresholds={}), name)


def _lines(page: Path) -> Iterator[str]:
    """Yield the commands of a page's shell blocks, continued lines joined."""
    for _, code in _blocks(page, "sh", "console", ""):
        for line in re.sub(r"\s*\\\n\s*", " ", code).splitlines():
            found = re.match(r"(?:\$ )?(?:\w+=\S+ )*(?:\S*/)?(harken( .*)?)$", line.partition(" # ")[0].strip())
            if found:
                yield re.split(r"\s{2,}", found[1])[0]  # what a table says beside a command


_MARKDOWN = [*PAGES, ROOT / "README.md", *sorted((ROOT / "benchmarks").glob("*.md"))]


@pytest.mark.parametrize("page", _MARKDOWN, ids=[str(page.relative_to(ROOT)) for page in _MARKDOWN])
def test_commands_parse(page: Path) -> None:
    from harken.tasks.recipe import find_recipe, with_settings
    from harken.tasks.recipe_file import is_recipe_file

    wrong = []
    for line in _lines(page):
        words = [word for word in shlex.split(line.partition(" | ")[0])[1:] if not word.startswith("[")]
        if "COMMAND" in words or "[OPTIONS]" in line or words in ([], ["--help"], ["--version"]):
            continue
        try:
            _parse(words)
            settings = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
            chosen = words[words.index("--recipe") + 1] if "--recipe" in words else "v12"
            if is_recipe_file(chosen):  # an example file; `--set` is not allowed with it
                assert not settings
                continue
            with_settings(find_recipe(chosen), [setting for setting in settings if "TEACHER" not in setting])
        except Exception as error:
            wrong.append(f"{line}\n    {error}")
    assert not wrong, "\n".join(wrong)


def _parse(words: list[str]) -> None:
    """Parse words as the command line would, without running anything."""
    from typer.main import get_command

    from harken.cli.main import app

    command: Any = get_command(app)
    while hasattr(command, "commands"):
        if words[0] not in command.commands:
            raise AssertionError(f"there is no command {words[0]}")
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, list(words))


@pytest.mark.parametrize("page", _MARKDOWN, ids=[str(page.relative_to(ROOT)) for page in _MARKDOWN])
def test_options_in_the_text_exist(page: Path) -> None:
    """Options that are named in running text: `--isolation 0`."""
    from typer.main import get_command

    from harken.cli.main import app

    known = {
        "--help",
        "--system-site-packages",
        *(option for command in _all(get_command(app)) for option in _options(command)),
    }
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    named = {
        option
        for code in re.findall(r"`([^`]+)`", text)
        if not code.startswith(("python", "pip", "mkdocs", "torchrun", "arecord", "docker", "wyoming-satellite"))
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", code)
    }
    assert named - known == set()


def _all(command: Any) -> Iterator[Any]:
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from _all(child)


def _options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from (name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--"))


_WITH_PYTHON = [page for page in PAGES if any(_blocks(page, "python"))]


@pytest.mark.parametrize("page", _WITH_PYTHON, ids=[str(page.relative_to(DOCS)) for page in _WITH_PYTHON])
def test_python_code_runs(page: Path, tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page's blocks, one after another, in a folder with a tiny corpus, a clip, a second of audio and a short recipe."""
    from harken.tasks import recipe

    code = [block for before, block in _blocks(page, "python") if not _NO_RUN.search(before)]
    for name in ("torch", "matplotlib", "sklearn", "openvino"):
        if any(re.search(rf"harken\.(training|evaluation|corpus|models)|\b{name}\b", block) for block in code):
            pytest.importorskip(name)
    shutil.copytree(tiny_corpus, tmp_path / "speech_commands")
    soundfile.write(tmp_path / "clip.wav", spoken("yes", "00000001"), CORPUS_RATE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        recipe, "RECIPES", {**recipe.RECIPES, "tutorial": replace(recipe.RECIPES["tutorial"], epochs=1)}
    )
    names: dict[str, Any] = {"__name__": "__docs__", "chunk": np.zeros(48_000, np.float32)}
    if (
        page.name == "evaluate.md" and page.parent.name == "tutorial"
    ):  # the page goes on with the run of the page before
        _train_quickly(tmp_path / "run")
    # Classes find their annotations by their module.
    module = ModuleType("__docs__")
    monkeypatch.setitem(sys.modules, "__docs__", module)
    vars(module).update(names)
    for block in code:
        exec(compile(block, str(page), "exec"), vars(module))


def _train_quickly(run: Path) -> None:
    from harken.tasks.protocol import Material
    from harken.tasks.recipe import find_recipe
    from harken.training.run import train

    train(find_recipe("tutorial"), Material(data=(Path("speech_commands"),)), run)


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_lines_are_wrapped(page: Path) -> None:
    long, fenced = [], False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        if len(line) > 130 and not fenced and not line.lstrip().startswith(("|", "![", "[^", "<!--")):
            long.append(number)
    assert not long, f"lines over 130 columns: {long}"
