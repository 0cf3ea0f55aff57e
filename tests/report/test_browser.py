"""The pages in a real browser: no overflow, no error, no request, a filter that works, and what axe-core says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rnn_conformance.report.compare import compare
from rnn_conformance.report.compare_views import as_html
from rnn_conformance.report.matrix import matrix
from rnn_conformance.report.page import page

from .browser import CHROMIUM, FLAGS
from .records import failing, hostile, passing

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser here: apt-get install chromium")
WIDTHS = {"phone": (390, 844), "desktop": (1280, 900)}
PAGES = {
    "passing": lambda: page(passing()),
    "failing": lambda: page(failing()),
    "hostile": lambda: page(hostile()),
    "matrix": lambda: matrix([passing(), failing(), hostile()]),
    "comparison": lambda: as_html(compare(passing(), failing())),
    "hostile comparison": lambda: as_html(compare(passing(), hostile())),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    written = {}
    for name, draw in PAGES.items():
        written[name] = folder / f"{name}.html"
        written[name].write_text(draw(), encoding="utf-8")
    return written


class Watched:
    """A page, with what it complained of and what it asked for."""

    def __init__(self, browser: Any, file: Path, width: str, scheme: str, script: bool = True) -> None:
        size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
        self.context = browser.new_context(viewport=size, color_scheme=scheme, java_script_enabled=script)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())


@pytest.fixture
def watch(browser: Any, files: dict[str, Path]) -> Iterator[Any]:
    opened: list[Watched] = []

    def open_page(name: str, width: str = "desktop", scheme: str = "light", script: bool = True) -> Watched:
        opened.append(Watched(browser, files[name], width, scheme, script))
        return opened[-1]

    yield open_page
    for one in opened:
        one.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_it_fits_and_is_quiet(watch: Any, files: dict[str, Path], name: str, width: str, scheme: str) -> None:
    seen = watch(name, width, scheme)
    seen.page.evaluate("document.querySelectorAll('details').forEach((e) => (e.open = true))")
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width][0]
    assert seen.complaints == []
    assert seen.requests == [files[name].as_uri()]
    paper = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(watch: Any, name: str, width: str, scheme: str) -> None:
    axe = pytest.importorskip(
        "axe_core_python.sync_playwright", reason="axe-core is not installed: pip install axe-core-python"
    )
    seen = watch(name, width, scheme)
    seen.page.evaluate("document.querySelectorAll('details').forEach((e) => (e.open = true))")
    found = axe.Axe().run(seen.page)["violations"]
    told = [(v["id"], v["impact"], v["nodes"][0]["html"][:200]) for v in found]
    assert [one for one in told if one[1] in ("serious", "critical")] == []


def shown(seen: Watched, selector: str) -> int:
    count: int = seen.page.locator(f"{selector}:visible").count()
    return count


def test_the_filter_narrows_and_lets_go(watch: Any) -> None:
    seen = watch("failing")
    seen.page.get_by_text("All 80 units, one by one").click()
    assert shown(seen, ".units tbody tr") == 80
    seen.page.locator("select[name=cell]").select_option(label="gru")
    assert shown(seen, ".units tbody tr") == 20
    assert shown(seen, "article.finding") == 1
    assert shown(seen, ".checks td .mark") == 20
    assert shown(seen, ".plots figure") == 3
    seen.page.locator("select[name=outcome]").select_option(label="crashed")
    assert shown(seen, ".units tbody tr") == 1
    assert shown(seen, ".checks tbody tr:not(.family)") == 1
    assert seen.page.locator("#filter output").inner_text() == "1 of 80 units"
    assert shown(seen, ".plots figure") == 1
    assert shown(seen, ".spreads") == 1
    seen.page.locator(".spreads:visible summary").click()
    assert [card.inner_text() for card in seen.page.locator(".card figcaption:visible").all()] == ["steps.stepwise"]
    seen.page.get_by_role("button", name="Clear").click()
    assert shown(seen, ".units tbody tr") == 80
    assert shown(seen, "article.finding") == 2


@pytest.mark.parametrize("width", WIDTHS)
def test_the_first_screen_says_verdict_bits_and_where_to_look(watch: Any, width: str) -> None:
    seen = watch("failing", width)
    height = WIDTHS[width][1]
    for selector in (".verdict strong", ".precision", ".look a", ".counts"):
        box = seen.page.locator(selector).first.bounding_box()
        assert box["y"] + box["height"] <= height, selector


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plots_take_the_colours_of_the_page(watch: Any, scheme: str) -> None:
    seen = watch("failing", "desktop", scheme)
    style = "(selector, name) => getComputedStyle(document.querySelector(selector))[name]"
    painted = {
        seen.page.evaluate(f"({style})('svg[role=img] {part}', '{name}')")
        for part, name in ((".bar", "fill"), (".bar.over", "fill"), ("text:not([class])", "fill"), (".grid", "stroke"))
    }
    ink = seen.page.evaluate("getComputedStyle(document.body).color")
    assert ink in painted
    assert len(painted) == 4
    assert (ink == "rgb(28, 33, 39)") == (scheme == "light")


def test_the_matrix_keeps_names_in_sight_on_a_phone(watch: Any) -> None:
    seen = watch("matrix", "phone")
    seen.page.evaluate("document.querySelector('.scroll').scrollLeft = 10000")
    box = seen.page.locator(".broad tbody th").first.bounding_box()
    assert box["x"] >= 0
    assert box["width"] < WIDTHS["phone"][0] / 2


def test_a_link_opens_what_it_leads_to(watch: Any) -> None:
    seen = watch("failing")
    seen.page.locator(".checks a.failed").nth(2).click()
    assert seen.page.locator("[id='values.cell-bfloat16']").is_visible()


def test_commands_and_scripts_can_be_copied(watch: Any) -> None:
    seen = watch("failing")
    seen.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for button, beginning in zip(
        seen.page.locator("button.copy").all(), ("rnn-conformance replay", "import numpy"), strict=False
    ):
        button.click()
        button.get_by_text("Copied").wait_for()
        assert seen.page.evaluate("navigator.clipboard.readText()").startswith(beginning)


def test_without_a_script_all_is_there_but_the_filter(watch: Any) -> None:
    seen = watch("failing", script=False)
    assert not seen.page.locator("#filter").is_visible()
    assert not seen.page.locator("button.copy").first.is_visible()
    assert seen.page.get_by_text("import numpy as np").first.is_visible()
    assert shown(seen, ".checks td .mark") == 80


def test_the_keyboard_reaches_what_scrolls(watch: Any) -> None:
    seen = watch("failing", "phone")
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.textContent") == "Skip to the findings"
    regions = seen.page.locator("[role=region]")
    assert regions.count() >= 5
    for k in range(regions.count()):
        assert regions.nth(k).get_attribute("tabindex") == "0"
        assert regions.nth(k).get_attribute("aria-label")
