"""The report page in headless Chromium: no script error, no request, no sideways scrolling on a phone."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from select import select

import pytest
from offramp.runtime.report import write_report

sys.path.append(str(Path(__file__).parent))
from report_sample import sample_document
from test_report import bare_document, hostile

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--remote-debugging-pipe",
]  # fmt: skip
# Chromium reads commands from descriptor 3 and answers on 4.
LAUNCH = """
import fcntl, os, sys
commands, answers = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(commands, 3)
os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
PATIENCE_SECONDS = 60
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; `apt-get install chromium`")


class Browser:
    """Chromium over its debugging pipe: JSON messages, each ended by a zero byte."""

    def __init__(self, profile):
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        command = [sys.executable, "-c", LAUNCH, str(theirs_in), str(theirs_out), CHROMIUM, *FLAGS]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}"], pass_fds=(theirs_in, theirs_out), **quiet
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer, self._numbers, self._session = b"", itertools.count(1), None
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def call(self, method, **params):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        found = self._until(lambda answer: answer.get("id") == number)
        assert "error" not in found, found
        return found["result"]

    def open(self, path, width, dark=False, media=""):
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        if not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self._until(lambda event: event.get("method") == "Page.loadEventFired")

    def value(self, expression):
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def complaints(self):
        """Script errors, console messages and log entries since the page was opened."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [event for event in self.events if event.get("method") in kinds]

    def requests(self):
        sent = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def _until(self, wanted):
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            while b"\0" in self._buffer:
                text, self._buffer = self._buffer.split(b"\0", 1)
                message = json.loads(text)
                self.events.append(message)
                if wanted(message):
                    return message
            assert select([self._read], [], [], max(0.0, end - time.monotonic()))[0], "Chromium does not answer"
            more = os.read(self._read, 1 << 16)
            assert more, "Chromium ended"
            self._buffer += more


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    documents = {"usual": sample_document(), "hostile": hostile(sample_document()), "bare": bare_document()}
    for layer in (long := sample_document())["layers"]:
        layer["module"] = "x" * 300
    for artifact in long["artifacts"]:
        artifact["details"] = {"k" * 200: "v" * 500}
        artifact["engines"][0]["engine"] = "e" * 200
    documents["long"] = long | {"name": "n" * 200}
    for name, document in documents.items():
        write_report(document, folder / f"{name}.html")
    return folder


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["usual", "hostile", "bare", "long"])
def test_a_page_opens_without_a_word_a_request_or_sideways_scrolling(browser, pages, name, width):
    browser.open(pages / f"{name}.html", width)
    browser.value("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    assert browser.value("innerWidth") == width
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith("data:")] == [(pages / f"{name}.html").as_uri()]


def test_the_figures_fit_a_desktop_without_scrolling(browser, pages):
    browser.open(pages / "usual.html", 1280)
    assert browser.value("[...document.querySelectorAll('.scroll')].every((box) => box.scrollWidth <= box.clientWidth)")


def test_the_figures_fit_a_printed_page(browser, pages):
    browser.open(pages / "usual.html", 700, media="print")  # A4 within its margins, in CSS pixels
    assert browser.value("document.documentElement.scrollWidth") == 700


def test_drawn_labels_of_a_plot_do_not_overlap(browser, pages):
    for width in (1280, 390):
        browser.open(pages / "usual.html", width)
        overlaps = browser.value("""[...document.querySelectorAll("svg")].flatMap((svg) => {
          const texts = [...svg.querySelectorAll(".mark > text, .reference text")];
          const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]);
          return boxes.flatMap(([one, a], place) => boxes.slice(place + 1).filter(([, b]) =>
            a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3
          ).map(([other]) => one + " / " + other));
        })""")
        assert overlaps == []


def test_the_layer_table_sorts_with_what_was_not_measured_last(browser, pages):
    browser.open(pages / "usual.html", 1280)
    column = "[...document.querySelectorAll('#layer-table tbody tr')].map((row) => row.cells[3].dataset.key)"
    press = "document.querySelectorAll('#layer-table thead button')[3].click()"
    for state, down in (("ascending", False), ("descending", True)):
        browser.value(press)
        *found, last = browser.value(column)
        assert last == ""
        assert [float(key) for key in found] == sorted(map(float, found), reverse=down)
        assert browser.value("document.querySelector('#layer-table [aria-sort]').getAttribute('aria-sort')") == state


def test_the_page_turns_dark_with_the_system(browser, pages):
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.open(pages / "usual.html", 1280)
    assert browser.value(ground) == "rgb(245, 246, 248)"
    browser.open(pages / "usual.html", 1280, dark=True)
    assert browser.value(ground) == "rgb(15, 18, 22)"
