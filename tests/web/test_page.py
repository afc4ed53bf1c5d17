"""The page of examples/web in headless Chromium, whose camera shows a drawing; `make web` builds it."""

import shutil
from pathlib import Path

import pytest

from motionrt.bench.speed.web import opened

PAGE = Path(__file__).resolve().parents[2] / "build" / "web" / "page" / "index.html"

for module in ("av", "playwright"):
    pytest.importorskip(module, reason=f"{module} is not installed")


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("chromium") or shutil.which("google-chrome")), reason="Chromium is not installed")
@pytest.mark.skipif(not PAGE.is_file(), reason="the page is not built: `make web`")
def test_the_page_finds_and_labels_a_person_without_a_server(tmp_path: Path) -> None:
    with opened(PAGE, None, tmp_path) as tab:  # has a label
        assert tab.inner_text("#label") in tab.evaluate("recognizer.labels") and tab.inner_text("#problem") == ""
        assert tab.evaluate("view.width") == 480
        tab.wait_for_function("$('status').textContent.includes('recognition')")
