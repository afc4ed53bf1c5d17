"""The soak test of the viewer, for a moment."""

import shutil

import pytest

for module in ("viser", "playwright"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from motionrt.bench.speed.view import bench_view  # noqa: E402


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("chromium") or shutil.which("google-chrome")), reason="Chromium is not installed")
def test_a_viewer_with_a_browser_is_measured() -> None:
    report = bench_view("live", seconds=2, warm_up_s=1)
    assert report["up"] and report["moves"] and report["tracebacks"] == 0
    assert report["rss_mb_start"] > 50 and report["files_end"] > 5 and report["threads_end"] > 2
    assert 0 < report["p50_ms"] <= report["p99_ms"]
