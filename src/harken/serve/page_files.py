"""The files of the page, which `harken serve` serves and `harken export --to web` copies.

page_files      read the files
mark_teaching   mark index.html as a page that can learn phrases
"""

from importlib.resources import files

_HTML = b'<html lang="en">'
_TEACHING_HTML = b'<html lang="en" data-teaching="true">'


def page_files() -> dict[str, bytes]:
    """Return the content of each file, by name."""
    folder = files("harken").joinpath("serve", "page")
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def mark_teaching(index: bytes) -> bytes:
    """Return index.html with the attribute by which page/main.js knows that the folders teach and ort exist."""
    assert _HTML in index
    return index.replace(_HTML, _TEACHING_HTML, 1)
