"""Test the exported page, whose model runs in the browser."""

from pathlib import Path

from browsing import open_page, serve_folder
from driving import check_files_use_the_thresholds, detect_all_words


def test_the_exported_page_detects_spoken_words_offline(chromium: str, microphone_file: Path, exported: Path) -> None:
    with serve_folder(exported) as url, open_page(chromium, url, microphone_file) as page:
        page.wait_for_selector("html[data-ready]")
        page.evaluate("import('./page/worklet.js').catch(() => {})")  # the only file that is loaded after the start
        page.click("#listen")
        page.wait_for_selector("#listen[data-listening=true]")
        page.click("#listen")
        page.context.set_offline(True)
        detect_all_words(page)


def test_files_use_the_thresholds_of_the_exported_page(
    chromium: str, microphone_file: Path, exported: Path, tmp_path: Path
) -> None:
    with serve_folder(exported) as url, open_page(chromium, url, microphone_file) as page:
        check_files_use_the_thresholds(page, tmp_path)
