"""A real Chromium without a window, driven over a pipe (the DevTools protocol): nothing to install.

Messages are JSON, ended by a zero byte: Chromium reads them from descriptor 3 and writes to 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

COMMAND_LIMIT = 30.0
"""Seconds for one command; a picture of a long page takes one or two."""

END_LIMIT = 10.0
"""Seconds for the browser to end."""

POLL = 0.05
"""Seconds between two looks at a page."""


def find() -> str | None:
    """Return the browser, if there is one: CHROMIUM, or Debian's."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


@dataclass
class Browser:
    """A browser with a profile of its own, which goes with it."""

    program: str
    errors: list[str] = field(default_factory=list)
    """What pages said in their consoles as an error or a warning, and what they could not load."""

    def __enter__(self) -> Self:
        """Start it."""
        self._profile = tempfile.mkdtemp(prefix="holdfast-chromium-")
        theirs_in, ours_out = map(_above, os.pipe())
        ours_in, theirs_out = map(_above, os.pipe())
        # bash puts the two where Chromium expects them.
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            [
                *("bash", "-c", script, "bash", self.program, "--headless", "--no-sandbox"),
                *("--remote-debugging-pipe", "--disable-gpu", "--no-first-run"),
                *(
                    "--hide-scrollbars",
                    "--disable-dev-shm-usage",
                    "--disable-renderer-backgrounding",
                ),
                *(
                    "--disable-background-timer-throttling",
                    "--disable-backgrounding-occluded-windows",
                ),
                *(f"--user-data-dir={self._profile}", "about:blank"),
            ],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._output, self._input = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")
        self._count = 0
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and remove its profile."""
        self._process.terminate()
        try:
            self._process.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(END_LIMIT)
        self._output.close()
        self._input.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, address: str, width: int = 1400, height: int = 900, **media: str) -> Page:
        """Open a page, so many CSS pixels wide; `media` is such as prefers_color_scheme="dark"."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        page.resize(width, height)
        features = [
            {"name": name.replace("_", "-"), "value": value} for name, value in media.items()
        ]
        page.send("Emulation.setEmulatedMedia", features=features)
        page.go(address)
        return page

    def send(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Send a command; return its result."""
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self._answers[number] = queue.Queue()
        self._output.write(json.dumps(message).encode() + b"\0")
        self._output.flush()
        answer = self._answers[number].get(timeout=COMMAND_LIMIT)
        del self._answers[number]
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def _listen(self) -> None:
        heard = b""
        while chunk := os.read(self._input.fileno(), 1 << 20):
            *messages, heard = (heard + chunk).split(b"\0")
            for each in messages:
                self._hear(json.loads(each))

    def _hear(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]].put(message)
        elif error := _error(message.get("method", ""), message.get("params", {})):
            self.errors.append(error)


def _above(descriptor: int) -> int:
    """Move a descriptor out of the way of those that Chromium wants."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


def _error(method: str, said: dict[str, Any]) -> str:
    """Return what an event says is wrong with a page, or nothing."""
    if method == "Runtime.exceptionThrown":
        details = said["exceptionDetails"]
        return str(details.get("exception", {}).get("description") or details["text"])
    if method == "Log.entryAdded" and said["entry"]["level"] in {"error", "warning"}:
        return f"{said['entry']['text']} {said['entry'].get('url', '')}".strip()
    if method == "Runtime.consoleAPICalled" and said["type"] in {"error", "warning", "assert"}:
        return " ".join(str(each.get("value", each)) for each in said["args"])
    return ""


@dataclass
class Page:
    """A page that is open."""

    browser: Browser
    session: str
    target: str

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Send a command to it."""
        return self.browser.send(method, self.session, **parameters)

    def go(self, address: str) -> None:
        """Go to an address."""
        self.send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'", "a page that is loaded")

    def resize(self, width: int, height: int) -> None:
        """Have it be so large, as a phone's if it is narrow."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)

    def value(self, expression: str) -> Any:  # noqa: ANN401 - what the page says
        """Return the value of an expression."""
        done = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, f"{expression}: {done['exceptionDetails']}"
        return done["result"].get("value")

    def text(self, selector: str) -> str:
        """Return the text of the first element that fits; nothing if none does."""
        return str(self.value(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''"))

    def click(self, selector: str) -> None:
        """Click on the middle of an element, as a person does."""
        found = json.dumps(selector)
        script = (
            f"(() => {{ const e = document.querySelector({found});"
            "e.scrollIntoView({block: 'nearest'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        x, y = self.value(script)
        where = {"x": x, "y": y, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, **where)

    def press(self, key: str) -> None:
        """Press a key: Tab, Enter, Escape or the space bar."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}
        text = {"Enter": "\r", " ": " "}.get(key, "")
        what = {"key": key, "windowsVirtualKeyCode": codes[key], "text": text}
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                **(what if kind == "keyDown" else what | {"text": ""}),
            )

    def wait(self, expression: str, what: str, limit: float = 20.0) -> float:
        """Wait until an expression is true; return the seconds it took."""
        begun = time.monotonic()
        while not self.value(f"Boolean({expression})"):
            waited = time.monotonic() - begun
            assert waited < limit, f"not within {limit:.0f} s: {what}; the page says {self.shown()}"
            time.sleep(POLL)
        return time.monotonic() - begun

    def shown(self) -> str:
        """Return the page's text, for the message of a failure."""
        return str(self.value("document.body.innerText"))[:2000]

    def picture(self, file: Path, *, whole: bool = True) -> None:
        """Write what it looks like to a PNG."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        more = {"clip": clip, "captureBeyondViewport": True} if whole else {}
        data = self.send("Page.captureScreenshot", format="png", **more)["data"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """Close it."""
        self.browser.send("Target.closeTarget", targetId=self.target)
