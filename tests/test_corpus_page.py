"""The page of a corpus, its building blocks and its figures."""

import base64
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

pytest.importorskip("matplotlib", reason="pages are drawn with matplotlib: pip install 'harken[train]'")

from harken.corpus import figures
from harken.corpus.page import write_page
from harken.corpus.problems import inspect
from harken.corpus.table import read_corpus
from harken.errors import HarkenError
from harken.pages.drawing import blend, contrast, figure_svg, new_figure
from harken.pages.html import (
    COLORS,
    Html,
    Section,
    Sorted,
    breakable,
    details,
    document,
    escape,
    listing,
    pairs,
    player,
    table,
)

RATE = 8_000
VOID = {"meta", "br", "img", "link", "input", "wbr"}


class Outline(HTMLParser):
    """Check that elements are nested correctly, and collect counts, ids and attributes."""

    def __init__(self, page):
        super().__init__()
        self.open, self.count, self.ids, self.attributes = [], {}, [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tone(hertz, seconds=1.0, rate=RATE):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def corpus_folder(tmp_path):
    folder = tmp_path / "my words"
    for word, takes in {"yes": 3, "no & <nay>": 1}.items():
        (folder / word).mkdir(parents=True)
        for take in range(takes):
            hertz = 200 + 50 * take + 7 * len(word)
            soundfile.write(folder / word / f"ann{take % 2}_nohash_{take}.wav", tone(hertz), RATE)
    return folder


def test_the_page_needs_no_other_files_and_shows_each_word(corpus_folder, tmp_path):
    soundfile.write(corpus_folder / "yes" / "ben_nohash_0.wav", tone(300, 0.25), RATE)
    (corpus_folder / "yes" / "ben_nohash_1.wav").write_bytes(b"not audio")
    inspection = write_page(read_corpus([corpus_folder]), tmp_path / "out" / "index.html")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    outline = Outline(page)
    assert len(inspection.problems) == 2
    assert outline.count["svg"] == 4 + 2
    assert outline.count["audio"] == 2 + 1  # two examples and the short clip
    links = [value for name, value in outline.attributes if name in ("src", "href", "xlink:href")]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "no &amp; &lt;nay&gt;" in page
    assert "<nay>" not in page
    assert "Too short: 1 clip<" in page
    assert '<span class="path">yes/<wbr>ben_<wbr>nohash_<wbr>1.wav</span>' in page
    assert str(tmp_path) not in page


def test_a_range_of_equal_values_is_written_as_one_value(corpus_folder, tmp_path):
    def written_page():
        write_page(read_corpus([corpus_folder]), tmp_path / "page.html")
        return (tmp_path / "page.html").read_text(encoding="utf-8")

    page = written_page()
    assert "1 to 3 clips per word" in page
    assert "all 1.00 s" in page
    for name, seconds in (("ben_nohash_0", 0.5), ("ben_nohash_1", 1.0)):
        soundfile.write(corpus_folder / "no & <nay>" / f"{name}.wav", tone(300, seconds), RATE)
    page = written_page()
    assert "3 clips of each word" in page
    assert "most frequent" not in page
    (corpus_folder / "maybe").mkdir()
    (corpus_folder / "maybe" / "a.wav").write_bytes(b"not audio")
    assert "1 word has no readable clip." in written_page()
    assert "0.50 to 1.00 s, median 1.00 s" in page


def test_the_example_is_the_clip_with_median_level_without_problems(tmp_path):
    (tmp_path / "yes").mkdir()
    for name, peak in {"a": 1e-4, "b": 0.2, "c": 0.1, "d": 0.8, "e": 1e-4}.items():
        soundfile.write(tmp_path / "yes" / f"{name}.wav", peak * tone(100 + ord(name)), RATE)
    write_page(read_corpus([tmp_path]), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert re.search(r'<h3>yes</h3><div class="aside">(\w)\.wav</div></div></div><svg', page)[1] == "b"


def test_only_the_start_of_a_long_clip_is_played(tmp_path):
    (tmp_path / "yes").mkdir()
    soundfile.write(tmp_path / "yes" / "long.wav", tone(300, 20.0), RATE)
    write_page(read_corpus([tmp_path]), tmp_path / "page.html")
    encoded = re.search(r"audio/flac;base64,([^\"]+)", (tmp_path / "page.html").read_text(encoding="utf-8"))[1]
    assert soundfile.info(io.BytesIO(base64.b64decode(encoded))).duration == 5.0


def test_a_corpus_without_readable_clips_or_speakers_gets_a_page(tmp_path):
    (tmp_path / "yes").mkdir()
    for name in ("a.wav", "b.wav"):
        (tmp_path / "yes" / name).write_bytes(b"not audio")
    write_page(read_corpus([tmp_path]), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert Outline(page).count["svg"] == 1
    assert "Speakers per word" not in page
    assert "Examples" not in page
    assert "Unreadable: 1 clip<" in page
    assert "Duplicate: 1 clip<" in page


def test_a_dollar_sign_in_a_word_is_no_formula(tmp_path):
    for word in (r"$\foo$", "no"):
        (tmp_path / "corpus" / word).mkdir(parents=True)
        soundfile.write(tmp_path / "corpus" / word / "1.wav", np.full(RATE, 0.1), RATE)
    write_page(read_corpus([tmp_path / "corpus"]), tmp_path / "page.html")
    assert r"$\foo$" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_folder_is_not_overwritten(corpus_folder, tmp_path):
    with pytest.raises(HarkenError, match="is a folder"):
        write_page(read_corpus([corpus_folder]), tmp_path)


def test_escape_lets_only_markup_through():
    assert escape('<b> & "x"') == "&lt;b&gt; &amp; &quot;x&quot;"
    assert escape(Html("<b>")) == "<b>"


def test_a_document_links_its_sections_and_nests():
    page = document(
        "a < b", [Section("One", [details("more", Html("<p>x</p>"))], "n & m"), Section("Two", [])], facts=[("k", "v")]
    )
    assert Outline(page).ids == ["part-0", "part-1"]
    assert page.count("a &lt; b") == 2
    assert "n &amp; m" in page


def test_table_sorts_numbers_by_value():
    markup = table(["Name", "Size"], [("<a>", Sorted("1,200", 1200)), ("b", Sorted("9", 9))])
    assert '<td class="number" data-order="1200">1,200</td>' in markup
    assert 'data-order="-Infinity"' in table(["level"], [[Sorted("silent", -math.inf)]])
    assert "<td>&lt;a&gt;</td>" in markup
    assert '<th scope="col">Name</th><th scope="col" class="number">Size</th>' in markup


def test_names_can_break_after_separators():
    assert breakable("a_b/c__<d>.wav") == "a_<wbr>b/<wbr>c__<wbr>&lt;d&gt;.wav"
    assert '<pre class="scroll">a \\\n  &lt;b&gt;</pre>' in listing("a \\\n  <b>")
    assert '<tr><th scope="row">a</th><td>&lt;b&gt;</td></tr>' in pairs([("a", "<b>")])


def test_contrast_follows_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == contrast("#ffffff", "#777777") == pytest.approx(4.48, abs=0.005)
    assert blend("#000000", "#ffffff", 0.4) == "#999999"
    for side in (0, 1):
        assert contrast(COLORS["soft"][side], COLORS["card"][side]) > 4.5


def test_player_contains_the_samples_clipped_at_full_scale():
    samples = np.array([0.0, 0.5, -0.25, 2.0], dtype=np.float32)
    encoded = re.search(r"base64,([^\"]+)", player(samples, RATE, label="x"))[1]
    decoded, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded)))
    assert rate == RATE
    np.testing.assert_allclose(decoded, [0.0, 0.5, -0.25, 1.0], atol=1e-4)


def test_a_figure_has_the_colors_of_the_page_and_is_reproducible():
    def drawn(values):
        figure = new_figure(200, 100)
        axes = figure.add_subplot()
        axes.plot(values, marker="o", color=COLORS["accent"][0])
        axes.set_title("a & <b>")
        before = figure.dpi
        svg = figure_svg(figure, label='say "x"')
        assert figure.dpi == before
        return svg

    svg = drawn([1, 2])
    assert "stroke: var(--accent)" in svg
    assert COLORS["accent"][0] not in svg
    assert 'aria-label="say &quot;x&quot;"' in svg
    assert "a &amp; &lt;b&gt;" in svg
    assert svg == drawn([1, 2])
    ids, other = set(Outline(svg).ids), set(Outline(drawn([2, 1])).ids)
    assert ids
    assert not ids & other
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)) <= {(name, "") for name in ids} | {
        ("", name) for name in ids
    }


@pytest.mark.parametrize("most", [0.9, 0.02])
def test_waveform_spans_the_clip(most):
    samples = np.zeros(RATE * 2, dtype=np.float32)
    samples[5_000] = most
    (axes,) = figures.waveform(samples, RATE).axes
    assert axes.get_xlim() == (0, 2)
    assert axes.get_ylim()[1] == pytest.approx(1.1 * most)
    assert axes.collections[0].get_datalim(axes.transData).y1 == pytest.approx(most)  # a single sample is not lost


@pytest.mark.parametrize("frequency_axis", ["linear", "log"])
@pytest.mark.parametrize("hertz", [250, 1000, 3000])
def test_spectrogram_of_a_tone_peaks_at_its_frequency_from_end_to_end(frequency_axis, hertz):
    axes, bar = figures.spectrogram(tone(hertz), RATE, frequency_axis=frequency_axis).axes
    mesh = axes.collections[0]
    level = mesh.get_array()
    rows = mesh.get_coordinates()[:, 0, 1]
    row = level[:, 20:-20].mean(axis=1).argmax()
    assert rows[row] <= hertz <= rows[row + 1] or abs(rows[row] / hertz - 1) < 0.05
    assert level.max() == pytest.approx(0, abs=1.0)
    assert level.min() >= -figures.RANGE_DB
    assert axes.get_yscale() == frequency_axis
    assert axes.get_ylim()[1] == RATE / 2
    assert bar.get_ylabel() == "level (dB, loudest = 0)"


def test_spectrogram_shows_when_a_sound_begins():
    samples = np.concatenate([np.zeros(RATE // 2, dtype=np.float32), tone(1000, 0.5)])
    mesh = figures.spectrogram(samples, RATE).axes[0].collections[0]
    loudness = mesh.get_array().max(axis=0)
    seconds = mesh.get_coordinates()[0, :, 0]
    assert seconds[np.argmax(loudness > -10)] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("samples", [np.zeros(RATE, dtype=np.float32), np.ones(3, dtype=np.float32)])
def test_silent_and_tiny_clips_are_drawn(samples):
    assert len(figures.clip_views(samples, RATE).axes) == 4


def test_bars_are_ordered_by_number_of_clips(corpus_folder):
    corpus = read_corpus([corpus_folder])
    (clips,), (speakers,) = figures.clips_per_word(corpus).axes, figures.speakers_per_word(corpus).axes
    assert [label.get_text() for label in clips.get_yticklabels()] == ["yes", "no & <nay>"]
    assert [bar.get_width() for bar in clips.patches] == [3, 1]
    assert [bar.get_width() for bar in speakers.patches] == [2, 1]


def test_bars_are_readable_with_many_words(tmp_path):
    for number in range(figures.MOST_WORDS + 5):
        (tmp_path / f"w{number:03}").mkdir()
        soundfile.write(tmp_path / f"w{number:03}" / "a.wav", tone(100 + number), RATE)
    (axes,) = figures.clips_per_word(read_corpus([tmp_path])).axes
    assert len(axes.patches) == figures.MOST_WORDS
    assert axes.get_xlabel() == f"clips (the {figures.MOST_WORDS} most frequent of {figures.MOST_WORDS + 5} words)"


def test_histograms_count_every_readable_clip(corpus_folder):
    soundfile.write(corpus_folder / "yes" / "short.wav", tone(200, 0.3), RATE)
    (corpus_folder / "yes" / "bad.wav").write_bytes(b"not audio")
    inspection = inspect(read_corpus([corpus_folder]))
    for figure in (figures.durations(inspection), figures.peak_levels(inspection)):
        assert sum(bar.get_height() for bar in figure.axes[0].patches) == 5
