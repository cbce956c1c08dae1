"""Take the pictures of the report's page that the guides show, of the study `quick`.

python docs/report_page.py results/quick/report.html
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
SIZE = {"width": 1180, "height": 1000}


def main(page: Path) -> None:
    """Write report.png, the top of the page, and report_cell.png, a cell that is open."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport=SIZE, color_scheme="light")
        tab.goto(page.absolute().as_uri())
        tab.wait_for_selector("html[data-ready=yes]", state="attached")
        tab.wait_for_selector("#forest svg")
        tab.locator("#forest").evaluate("e => scrollBy(0, e.getBoundingClientRect().top - 20)")
        tab.screenshot(path=HERE / "report.png")
        tab.click("#grid button >> nth=1")
        tab.wait_for_selector("#cell figure svg >> nth=3")
        tab.screenshot(path=HERE / "report_cell.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
