"""Headless Chromium, driven over its debugging pipe: what a page looks like, asks for and complains of. No library."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE_S = 60.0


def found() -> str | None:
    """Chromium's command, or None where there is none."""
    named = os.environ.get("SLACKWATER_TEST_BROWSER")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Page:
    """One tab. `asked`: addresses that the page asked for, itself first; `complaints`: what the console said."""

    commands: int
    events: int
    session: str = ""
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _next: int = 0
    _rest: bytes = b""
    _loaded: bool = False

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol and its answer. Raises RuntimeError for an error."""
        self._next += 1
        message = {"id": self._next, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            got = self._read()
            if got.get("id") == self._next:
                if "error" in got:
                    raise RuntimeError(f"{method}: {got['error']['message']}")
                return dict(got["result"])

    def open(self, path: Path) -> None:
        """Loads a file and waits until it is there."""
        self.asked, self.complaints, self._loaded = [], [], False
        self.call("Page.navigate", url=path.as_uri())
        while not self._loaded:
            self._read()

    def look(self, width: int, *, dark: bool = False, media: str = "screen") -> None:
        """The window and the reader's wishes."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600
        )
        wish = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media=media, features=wish)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def paper(self) -> bytes:
        """The page as PDF."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self.events, 1 << 16)
            if not more:
                raise RuntimeError("the browser has gone")
            self._rest += more
        raw, _, self._rest = self._rest.partition(b"\0")
        got: dict[str, Any] = json.loads(raw)
        params = got.get("params", {})
        match got.get("method"):
            case "Network.requestWillBeSent":
                self.asked.append(params["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Page.javascriptDialogOpening":
                self.complaints.append(json.dumps(params)[:300])
            case "Page.loadEventFired":
                self._loaded = True
        return got


@contextmanager
def page(command: str, folder: Path) -> Iterator[Page]:
    """A browser with one empty tab, its profile in `folder`; gone with the block."""
    theirs_in, commands = os.pipe()
    events, theirs_out = os.pipe()
    # the debugging pipe is file descriptors 3 and 4; the shell puts them there, whatever numbers ours have
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe")
    more = ("--no-first-run", "--disable-extensions", "--disable-background-networking", f"--user-data-dir={folder}")
    browser = subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$0" "$@" 3</dev/fd/{theirs_in} 4>/dev/fd/{theirs_out}', command, *flags, *more],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(theirs_in, theirs_out),
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        tab = Page(commands, events)
        target = tab.call("Target.createTarget", url="about:blank")["targetId"]
        tab.session = tab.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.call(f"{domain}.enable")
        yield tab
    finally:
        browser.terminate()
        until = time.monotonic() + 10
        while browser.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        if browser.poll() is None:
            browser.kill()
        os.close(commands)
        os.close(events)
