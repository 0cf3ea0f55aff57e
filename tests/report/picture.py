"""python -m tests.report.picture: draw docs/report.png, the report of kernels in which one thing is wrong."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from rnn_conformance.cli import FINDINGS, main

from .browser import CHROMIUM, FLAGS

PICTURE = Path("docs", "report.png")
SIZE = {"width": 1280, "height": 1706}


def draw(report: Path) -> None:
    """Look at the top of the page of `report`."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto((report / "index.html").absolute().as_uri())
        page.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    here = str(Path(__file__).parent)
    sys.path.insert(0, here)  # for this process, and for those that it starts:
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder:
        code = main(["run", "--backend", "my_kernels:MyKernels", "--profile", "smoke", "--report", folder])
        draw(Path(folder))
    sys.exit(code != FINDINGS)
