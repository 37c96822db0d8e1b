"""What an open page looks like: boxes of its texts, contrast of its marks, headings on paper."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest

_SCRIPT = Path(__file__).with_name("layouts.js").read_text(encoding="utf-8")


def _measure(page: Any, function: str) -> Any:
    return page.evaluate(f"() => {{ {_SCRIPT}; return {function}(); }}")


def find_overlaps(page: Any) -> list[tuple[str, str]]:
    """List pairs of texts of an open page whose boxes overlap, those in SVG included."""
    texts = sorted(_measure(page, "listTexts"), key=lambda text: text["box"][1])
    pairs: list[tuple[str, str]] = []
    active: list[dict[str, Any]] = []
    for text in texts:
        start, top, end, bottom = text["box"]
        active = [other for other in active if other["box"][3] > top]
        for other in active:
            if text["whole"] and text["whole"] == other["whole"]:
                continue
            box = other["box"]
            width = min(end, box[2]) - max(start, box[0])
            height = min(bottom, box[3]) - max(top, box[1])
            if width > 1 and height > 1:
                pairs.append((other["text"], text["text"]))
        active.append(text)
    return pairs


def find_cut_texts(page: Any) -> list[str]:
    """List texts of the figures of an open page that stick out of their picture."""
    texts: list[str] = _measure(page, "listCutTexts")
    return texts


def measure_contrasts(page: Any) -> dict[str, float]:
    """Measure the contrast of every visible mark of a page with what is behind it."""
    return {mark["text"]: mark["contrast"] for mark in _measure(page, "listContrasts")}


def find_stranded(page: Any) -> list[tuple[int, str]]:
    """Print a page, and list headings that are the last on their sheet, with its number.

    A heading whose words a figure holds, too, cannot be told from that by its words.
    """
    pypdf = pytest.importorskip("pypdf")
    page.emulate_media(media="print")
    headings = {_squeeze(text) for text in _measure(page, "listHeadings")} - {""}
    headings -= {_squeeze(text) for text in page.locator("figure svg text").all_text_contents()}
    sheets = pypdf.PdfReader(io.BytesIO(page.pdf(format="A4"))).pages
    stranded = []
    for number, sheet in enumerate(sheets, 1):
        text = _squeeze(sheet.extract_text())
        ends = [heading for heading in headings if text.endswith(heading)]
        stranded += [(number, heading) for heading in ends]
    return stranded


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", "", text)
