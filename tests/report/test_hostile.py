"""Text from a record stays text, wherever it is drawn."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from rnn_conformance.report.badge import badge
from rnn_conformance.report.compare import compare
from rnn_conformance.report.compare_views import as_html, as_markdown, as_text
from rnn_conformance.report.markdown import summary
from rnn_conformance.report.matrix import matrix
from rnn_conformance.report.page import page

from .reading import Element, read
from .records import NASTY, hostile, passing, written

PAGES = {
    "page": lambda: page(hostile()),
    "matrix": lambda: matrix([hostile(), passing()]),
    "comparison": lambda: as_html(compare(passing(), hostile())),
    "comparison back": lambda: as_html(compare(hostile(), passing())),
}
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


@pytest.fixture(scope="module", params=PAGES)
def html(request: pytest.FixtureRequest) -> str:
    return PAGES[request.param]()


def test_the_record_is_one() -> None:
    assert written(hostile())


def test_no_element_is_injected(html: str) -> None:
    root = read(html)
    assert not root.all("img")
    assert not root.all("textarea")
    assert len(root.all("script")) <= 1
    assert len(root.all("style")) == 1
    for script in root.all("script"):
        assert "alert" not in script.text
    assert not [name for e in root.all() for name in e.attributes if name.startswith("on")]


def test_links_stay_within_the_reports(html: str) -> None:
    targets = [a.attributes["href"] for a in read(html).all("a")]
    assert all(re.fullmatch(r"(([A-Za-z0-9_.%-]+)/index\.html)?(#[A-Za-z0-9._:-]+)?", target) for target in targets)


def test_names_are_names(html: str) -> None:
    ids = [e.attributes["id"] for e in read(html).all() if "id" in e.attributes]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9._:-]*", id) for id in ids)


def test_control_characters_are_written_out(html: str) -> None:
    assert not CONTROL.search(html)
    assert "\\x1b[31m" in html


def test_templates_are_not_evaluated(html: str) -> None:
    assert "{{ 7 * 7 }}" in read(html).text


def test_the_message_can_be_read_back() -> None:
    root: Element = read(page(hostile()))
    message = root.of_class("message")[0].text
    assert message.startswith("</script><script>alert(1)</script><img src=x onerror=alert(2)>")
    assert len(message) > 10_000


def test_a_badge_is_xml_with_a_title() -> None:
    svg = ElementTree.fromstring(badge(hostile()))
    name = "{http://www.w3.org/2000/svg}"
    assert {e.tag.removeprefix(name) for e in svg.iter()} == {"svg", "title", "rect", "path", "g", "text"}
    assert (svg.findtext(f"{name}title") or "").startswith("</script>")
    assert float(svg.attrib["width"]) < 600


@pytest.mark.parametrize("draw", [lambda: summary(hostile()), lambda: as_markdown(compare(passing(), hostile()))])
def test_markdown_keeps_its_form(draw: object) -> None:
    assert callable(draw)
    text = draw()
    assert not CONTROL.search(text.replace("\n", ""))
    assert not re.search(r"<(?!/?code>)", text)
    assert "](" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(row.count("|") in {r.count("|") for r in rows if "---" in r} for row in rows)
    assert len(text) < 60_000


def test_a_terminal_is_sent_no_control() -> None:
    text = as_text(compare(passing(), hostile()))
    assert not CONTROL.search(text.replace("\n", ""))
    assert NASTY[:20] in text
