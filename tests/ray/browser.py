"""A headless Chromium, driven through a pipe: what a person at a page would see of it."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",  # else it does not start as root, as in containers
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)


def chromium():
    """Return the path of a Chromium; None if none is installed."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class NavigatedError(Exception):
    """The page was left while it was asked."""


class Browser:
    """One page. Its commands are those of the DevTools protocol."""

    def __init__(self, read, write):
        self._read, self._write = read, write
        self._numbers = itertools.count(1)
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    _session = None

    def open(self, url):
        """Go to an address."""
        self._call("Page.navigate", url=url)

    def evaluate(self, expression):
        """Return what a piece of JavaScript gives."""
        found = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def text(self):
        """Return what can be read on the page."""
        return self.evaluate("document.body ? document.body.innerText : ''")

    def type(self, text):
        """Type into what has the focus."""
        self._call("Input.insertText", text=text)

    def picture(self, path):
        """Write a PNG of what the window shows."""
        found = self._call("Page.captureScreenshot", format="png")
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def until(self, condition, seconds=30):
        """Wait until a condition of the page's text holds; return the text."""
        deadline, text = time.monotonic() + seconds, ""
        while time.monotonic() < deadline:
            with suppress(NavigatedError):
                if condition(text := self.text()):
                    return text
            time.sleep(0.3)
        raise AssertionError(f"not within {seconds} s; the page says:\n{text}")

    def _call(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while True:
            answer = json.loads(self._next())
            if answer.get("id") == number:
                if "navigated" in answer.get("error", {}).get("message", ""):
                    raise NavigatedError
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _next(self):
        """Return the next message; events among them are of no interest."""
        found = bytearray()
        while (byte := self._read.read(1)) != b"\0":
            assert byte, "Chromium has ended"
            found += byte
        return found


@contextmanager
def browsing(folder, size=(1400, 900)):
    """Start a Chromium that ends with the block; its files go into a folder."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()

    def pipes():  # it reads from 3 and writes to 4
        high = [os.dup(end) for end in (theirs_in, theirs_out)]
        while min(high) <= 4:
            high = [os.dup(end) for end in high]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    command = [chromium(), *_FLAGS, f"--user-data-dir={folder}"]
    command += [f"--window-size={size[0]},{size[1]}"]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, preexec_fn=pipes, close_fds=False
        )
    os.close(theirs_in)
    os.close(theirs_out)
    with os.fdopen(ours_in, "rb") as read, os.fdopen(ours_out, "wb") as write:
        try:
            yield Browser(read, write)
        finally:
            with suppress(OSError, AssertionError):
                process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
