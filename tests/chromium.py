"""Headless Chromium, driven over the DevTools protocol: https://chromedevtools.github.io/devtools-protocol/.

Commands and events go through two pipes, as NUL-terminated JSON; so no driver has to be installed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.processes import HANG_SECONDS, wait_until

CHROMIUM = "chromium"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # not for its maker's sake either
)


class Page:
    """One tab of a browser.

    Args:
        process: The browser.
        commands: File descriptor that it reads commands from.
        answers: File descriptor that it writes answers and events to.

    Attributes:
        events: All events so far, as `{"method", "params"}`.
    """

    def __init__(self, process: subprocess.Popen[bytes], commands: int, answers: int) -> None:
        self.process, self._commands, self._answers = process, commands, answers
        self.events: list[dict[str, Any]] = []
        self._read = b""
        self._number = 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Run a command and return its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (message := self._next_message()).get("id") != self._number:
            self.events.append(message)
        if "error" in message:
            raise AssertionError(f"{method}: {message['error']}")
        result: dict[str, Any] = message["result"]
        return result

    def _next_message(self) -> dict[str, Any]:
        deadline = time.monotonic() + HANG_SECONDS
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._answers], [], [], deadline - time.monotonic())
            part = os.read(self._answers, 2**16) if ready else b""
            if not part:
                raise AssertionError(f"the browser does not answer; it said {self.events[-5:]}")
            self._read += part
        line, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def open(self, url: str) -> None:
        """Go to a URL, whether or not it is another fragment of the same page."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise AssertionError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Wait until a JavaScript expression is true, and return its value."""
        return wait_until(
            lambda: self.evaluate(expression),
            lambda: f"{expression} in {self.evaluate('document.body.innerText')!r}",
        )

    def click(self, selector: str) -> None:
        """Wait for an element and click it."""
        self.wait_for(f"Boolean(document.querySelector({json.dumps(selector)}))")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def type(self, text: str) -> None:
        """Type a text into the element that has the focus, in place of what it holds, and Enter."""
        self.evaluate("document.activeElement.select()")
        self.call("Input.insertText", text=text)
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        self.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **enter)
        self.call("Input.dispatchKeyEvent", type="keyUp", **enter)

    def complaints(self) -> list[dict[str, Any]]:
        """Return dialogs, exceptions, refusals by the content policy and the like, so far."""
        self.evaluate("0")  # what was sent before is read by now
        return [
            event
            for event in self.events
            if event["method"] in ("Page.javascriptDialogOpening", "Runtime.exceptionThrown")
            or (
                event["method"] == "Log.entryAdded"
                and event["params"]["entry"]["source"] != "network"
                and event["params"]["entry"]["level"] in ("error", "warning")
            )
            or (
                event["method"] == "Runtime.consoleAPICalled"
                and event["params"]["type"] in ("error", "assert")
            )
        ]


@contextmanager
def open_browser(folder: Path) -> Iterator[Page]:
    """Start a browser and end it.

    Args:
        folder: Folder for its profile.
    """
    (reads, commands), (answers, writes) = os.pipe(), os.pipe()
    flags = (*FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder}/profile")
    process = subprocess.Popen(
        # It reads from descriptor 3 and writes to 4.
        ["bash", "-c", f'exec "$0" "$@" 3<&{reads} 4>&{writes}', CHROMIUM, *flags],
        pass_fds=(reads, writes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(reads)
    os.close(writes)
    try:
        page = Page(process, commands, answers)
        yield page
    finally:
        with suppress(ProcessLookupError):  # a group of its own, its helpers included
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(HANG_SECONDS)
        os.close(commands)
        os.close(answers)
