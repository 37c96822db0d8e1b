"""A page in a real browser, opened from a file, with the network off.

Needs Debian's Chromium (``apt-get install chromium``), and for the accessibility checks axe-core
(``npm install axe-core``).  Where they are missing these tests skip, unless
``ABLATIONS_BROWSER=required`` says that they must run.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(os.environ.get("AXE_CORE", ROOT / "node_modules/axe-core/axe.min.js"))
REQUIRED = os.environ.get("ABLATIONS_BROWSER") == "required"
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)

IN_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not CHROMIUM and not REQUIRED, reason="Chromium is not installed: apt-get install chromium"
    ),
]
"""Marks of a module of tests in the browser."""


class Opened:
    """A page with its requests and its errors."""

    def __init__(
        self,
        browser: Any,
        path: Path,
        *,
        width: int = 1280,
        scheme: str = "light",
        fragment: str = "",
    ):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append("a dialog"))
        self.page.on(
            "console",
            lambda message: self.complaints.append(message.text) if message.type != "log" else None,
        )
        self.page.goto(f"{path.as_uri()}#{fragment}" if fragment else path.as_uri())

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *error: object) -> None:
        self.context.close()
        if error[0] is None:
            self.check()

    def check(self) -> None:
        """Check that the page raised no error and requested nothing but itself."""
        assert self.complaints == []
        assert len(self.requests) == 1


def list_violations(page: Any, within: str = "html", tag: str = "") -> list[tuple[str, Any, str]]:
    """List what axe-core finds on an open page, by all its rules or by those with a tag."""
    if not AXE.is_file() and not REQUIRED:
        pytest.skip("axe-core is not installed: npm install axe-core")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    options = {"resultTypes": ["violations"], **({"runOnly": [tag]} if tag else {})}
    report = page.evaluate("([within, options]) => axe.run(within, options)", [within, options])
    return [
        (violation["id"], node["target"], node["failureSummary"])
        for violation in report["violations"]
        for node in violation["nodes"]
    ]
