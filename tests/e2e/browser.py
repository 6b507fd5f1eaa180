"""A headless Chromium, driven through its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.sync.client import connect

_SECONDS = 60
# Nothing of the browser's own may reach for the network.
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-port=0",
)


def chromium() -> str | None:
    """The installed browser, if there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


# Keys to press: code, Windows' number and, where it types one, the character.
_KEYS = {
    "Enter": ("Enter", 13, "\r"),
    "Tab": ("Tab", 9, ""),
    " ": ("Space", 32, " "),
    "/": ("Slash", 191, "/"),
    "ArrowRight": ("ArrowRight", 39, ""),
}


class Browser:
    """One tab. `faults` are its console errors and exceptions, `addresses` all that it asked for."""

    def __init__(self, executable: str, profile: Path) -> None:
        self.faults: list[str] = []
        self.addresses: list[str] = []
        self._ids = itertools.count(1)
        self._profile = profile
        self._process = subprocess.Popen(
            [executable, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.callback(self._end)
        try:
            tab = connect(self._tab_address(), max_size=None, open_timeout=_SECONDS)
            self._socket = self._open.enter_context(tab)
            for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
                self.call(f"{domain}.enable")
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result; events that come meanwhile are noted."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(_SECONDS))
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]
            self._note(message)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + _SECONDS
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"never true: {expression}; faults: {self.faults}"
            time.sleep(0.05)

    def open(self, url: str) -> None:
        """Load a page and wait until it and its scripts are there."""
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def type(self, selector: str, text: str) -> None:
        """Focus an element and type into it."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def press_enter(self) -> None:
        """Press the Enter key in whatever has the focus."""
        self.press("Enter")

    def press(self, key: str) -> None:
        """Press a key of `_KEYS` in whatever has the focus."""
        code, number, text = _KEYS[key]
        pressed = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", **pressed, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def resize(self, width: int, height: int) -> None:
        """Give the page another size, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """Be a browser whose user prefers "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, *, whole: bool = False) -> bytes:
        """A PNG of what is in the window, or of the `whole` page."""
        beyond: dict[str, Any] = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            beyond = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **beyond)["data"])

    def accessible_names(self) -> list[tuple[str, str]]:
        """Role and name of all that assistive technology can see, in the document's order."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        ]

    def choose_file(self, selector: str, *paths: Path) -> None:
        """Choose files in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(_SECONDS)

    def _tab_address(self) -> str:
        ready = self._profile / "DevToolsActivePort"
        deadline = time.monotonic() + _SECONDS
        while not (ready.exists() and ready.read_text().strip()):
            assert self._process.poll() is None, "the browser ended"
            assert time.monotonic() < deadline, "the browser does not start"
            time.sleep(0.05)
        port = ready.read_text().splitlines()[0]
        tabs = httpx.get(f"http://127.0.0.1:{port}/json/list", timeout=_SECONDS).json()
        return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.faults.append(str(parameters["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                self.faults.append(str(parameters["args"]))
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.faults.append(str(parameters["entry"]))
            case "Network.requestWillBeSent":
                self.addresses.append(parameters["request"]["url"])
