"""Memory, files and threads of the viewer over minutes with a browser: `python -m motionrt.bench.speed.view`.

`motionrt view` loops a recording, and a page in headless Chromium shows it next to motion streamed from a prompt. Needs
viser, playwright and Chromium.
"""

from __future__ import annotations

import argparse
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from ...runtime.errors import InputError
from ...runtime.extras import require
from ...runtime.recognition.recognizer import Recognizer
from ..report import print_report
from .environment import environment
from .server_process import ServerProcess

WAVE = Path(__file__).resolve().parents[2] / "runtime" / "samples" / "bandai_wave_right_hand.npz"
WARM_UP_S, POLL_S = 60.0, 1.0
LOADED_MS = 120_000
COUNT = "window.painted = 0; (function count() { window.painted++; requestAnimationFrame(count); })()"
LATENCY_LINE = re.compile(r"p50 ([\d.]+) ms, p99 ([\d.]+) ms, (\d+) frames dropped")
FLAGS = ["--no-sandbox", "--disable-background-networking", "--enable-unsafe-swiftshader", "--use-angle=swiftshader"]


def bench_view(model: str, seconds: float, warm_up_s: float = WARM_UP_S) -> dict[str, Any]:
    """A JSON object: memory, open files and threads of the viewer after the warm-up and at the end; displayed latency.

    Raises:
        InputError: Chromium is not installed. MissingExtra: playwright is not installed.
    """
    with ServerProcess("view", str(WAVE), "--port", "0", "--model", model) as viewer, browser(viewer.url) as page:
        watch(viewer, page, warm_up_s)
        polls = watch(viewer, page, seconds)
        up, moves = viewer.is_up, page.screenshot() != page.screenshot()
        tracebacks = sum(line.startswith("Traceback") for line in viewer.output)
    first, last = polls[0], polls[-1]
    return {
        "benchmark": "view",
        "model": model,
        "seconds": last["t"] - first["t"],
        "up": up,
        "moves": moves,
        "tracebacks": tracebacks,
        **{f"{name}_{when}": poll[name] for name in ("rss_mb", "files", "threads") for when, poll in
           {"start": first, "end": last}.items()},
        "growth_mb": last["rss_mb"] - first["rss_mb"],
        "painted_hz": (last["painted"] - first["painted"]) / (last["t"] - first["t"]),
        "frames_dropped": last["dropped"] - first["dropped"],
        "p50_ms": median(poll["p50_ms"] for poll in polls),
        "p99_ms": median(poll["p99_ms"] for poll in polls),
        "rss_mb": [round(poll["rss_mb"], 1) for poll in polls[:: max(1, len(polls) // 20)]],
        "environment": environment(Recognizer.load(model).bundle),
    }  # fmt: skip


@contextmanager
def browser(url: str) -> Iterator[Any]:
    """The page in a browser tab, with motion streaming on it."""
    playwright = require("playwright.sync_api", "dev", "a browser")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise InputError("Chromium is not installed, expected chromium or google-chrome")
    with playwright.sync_playwright() as driver:
        page = driver.chromium.launch(executable_path=chromium, args=FLAGS).new_page(
            viewport={"width": 1000, "height": 600}
        )
        page.set_default_timeout(LOADED_MS)
        page.goto(url)
        page.get_by_role("button", name="Set labels").wait_for()
        prompt = page.locator("form", has_text="Prompt").get_by_role("textbox")
        prompt.fill("a person walks forward")
        prompt.press("Enter")
        page.get_by_text("frames dropped").wait_for()
        page.evaluate(COUNT)
        yield page
        page.context.browser.close()


def watch(viewer: ServerProcess, page: Any, seconds: float) -> list[dict[str, float]]:
    """Poll both once per second, including at the beginning and at the end."""
    start_s, polls = time.monotonic(), []
    while True:
        p50, p99, dropped = map(float, LATENCY_LINE.findall(page.inner_text("body"))[0])
        poll = {"t": time.monotonic() - start_s, "p50_ms": p50, "p99_ms": p99, "dropped": dropped}
        poll |= {"painted": page.evaluate("window.painted")}
        polls.append(poll | {"rss_mb": viewer.rss_mb, "files": viewer.files, "threads": viewer.threads})
        if poll["t"] >= seconds:
            return polls
        time.sleep(POLL_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="zero-shot")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    print_report(bench_view(options.model, options.seconds), options.out)


if __name__ == "__main__":
    main()
