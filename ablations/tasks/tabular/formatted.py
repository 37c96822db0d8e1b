"""Numbers and dates that are formatted for people: recognised, so that no one takes them for words.

Each is refused with the key of the study that reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from ablations.tasks.tabular.options import ReadingOptions, as_key
from ablations.tasks.tabular.texts import Texts, parse_numbers

_AMOUNT = r"[-+\u2212]?\d{1,3}(?:[ .,'\u00a0\u202f]\d{3})+(?:[.,]\d+)?|[-+\u2212]?\d+(?:[.,]\d+)?"
_UNIT = r"[^\d\s.,;:/+\-()'][^\d,;:()]*?"
_CURRENCY = r"(?:[$€£¥₹]|US\$|USD|EUR|GBP|CHF|JPY|CAD|AUD)?"
_WITH_UNIT = (
    rf"(?P<sign>[-+]?)(?P<before>{_CURRENCY})\s*(?P<amount>{_AMOUNT})\s*(?P<after>(?:{_UNIT})?)"
)
_BRACKETED = r"\(\d[\d.,]*\)"
"""Negative numbers in accounts."""
_MIN_AMOUNTS = 3
"""Fewest different numbers with one unit that are refused as categories."""
_MAX_AMOUNTS = 20
"""Most different numbers with several units that are categories."""
_DATES = (
    r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./]\d{1,2}[./]\d{1,2}"
    r"|\d{1,2}[. -]+[A-Za-z]{3,9}\.?[ ,-]+\d{2,4}|[A-Za-z]{3,9}\.? \d{1,2},? \d{4}"
)
_TIME = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[APap][Mm])?"
_DATE = rf"(?:{_DATES})(?:[ T,]+{_TIME})?|{_TIME}"
_DATE_FORMATS = (
    "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d/%m/%y",
    "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d %B %Y", "%b %d, %Y",
    "%B %d, %Y", "%b %d %Y", "%d. %B %Y",
)  # fmt: skip
_TIME_FORMATS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


def find_problem(name: str, texts: Texts, options: ReadingOptions, decimal: str) -> str:
    """Return why a column of words cannot be used: most of it are numbers or dates; or ""."""
    sample = texts.sample()
    if not any(sample.share(mask) > 0.4 for mask in _detect(sample.values, options, decimal)):
        return ""
    values, as_words = texts.values, f'or types = {{ {as_key(name)} = "category" }}'
    numbers, dates, formatted_dates, amounts = _detect(values, options, decimal)
    for noun, is_wanted in (("numbers", numbers), ("dates", dates)):
        if 0.5 < texts.share(is_wanted) < 1:
            message = f"column '{name}' holds {noun}, but also {texts.cite(~is_wanted)}"
            value = texts.unmarked[~is_wanted].iloc[0]
            return f"{message}; correct it, or say missing = [{_quote(value)}], {as_words}"
    if texts.share(formatted_dates) > 0.5:
        message = f"column '{name}' holds dates as {texts.cite(formatted_dates)}"
        formats = suggest_dates(values[formatted_dates])
        formats = formats or 'date_format, such as date_format = "%d/%m/%Y"'
        return f"{message}; say {formats}, {as_words}"
    is_bracketed = np.asarray(values.str.fullmatch(_BRACKETED), dtype=bool)
    if texts.share(amounts | is_bracketed) > 0.5 and is_bracketed.any():
        message = f"column '{name}' holds numbers as {texts.cite(is_bracketed)}"
        return f"{message}; write them with a minus sign, {as_words}"
    if texts.share(amounts) > 0.5 and (is_unit := _find_unit(texts, amounts)).any():
        return f"{_describe(name, texts, is_unit, options)}, {as_words}"
    return ""


def _detect(values: pd.Series, options: ReadingOptions, decimal: str) -> tuple[np.ndarray, ...]:
    """Return which texts are numbers, dates, dates formatted for people, and amounts with units."""
    return (
        ~np.isnan(parse_numbers(values, decimal, options.thousands)),
        np.asarray(pd.to_datetime(values, format="ISO8601", errors="coerce", utc=True).notna()),
        np.asarray(values.str.fullmatch(_DATE), dtype=bool),
        np.asarray(values.str.fullmatch(f"{_WITH_UNIT}|{_BRACKETED}"), dtype=bool),
    )


def _find_unit(texts: Texts, is_amount: np.ndarray) -> np.ndarray:
    """Return which amounts have the most frequent unit; none, if they may be few categories."""
    parts = texts.values.str.extract(rf"^{_WITH_UNIT}$")
    units = (parts["before"].fillna("") + " " + parts["after"].fillna("")).str.strip()
    is_unit = is_amount & np.asarray(units == units[is_amount].mode().get(0, ""), dtype=bool)
    is_mixed = texts.share(is_unit) <= 0.5
    has_units = bool(parts["after"][is_amount].str.len().gt(0).all())
    is_few = is_unit.sum() < _MIN_AMOUNTS or (is_mixed and is_amount.sum() <= _MAX_AMOUNTS)
    return np.asarray(is_unit & (not is_few and (has_units or not is_mixed)))


def _describe(name: str, texts: Texts, is_amount: np.ndarray, options: ReadingOptions) -> str:
    value, key = texts.unmarked[is_amount].iloc[0], as_key(name)
    keys = []
    if re.search(r"[A-Za-z$€£¥%°]", value) or not re.search(r"[.,' \u00a0]", value):
        keys.append(f'types = {{ {key} = "number" }}')
    marks = re.findall(r"(?<=\d)[.,' \u00a0\u202f](?=\d)", value)
    if len(set(marks)) > 1:
        keys += [f"thousands = {_quote(marks[0])}"]
        keys += [f"decimal = {_quote(marks[-1])}"] * (marks[-1] != ".")
    elif marks and not options.decimal and (marks[0] != "." or _is_grouped(value)):
        mark = _quote(marks[0])
        keys.append(
            f"thousands = {mark}"
            if marks[0] not in ",."
            else f"decimal = {mark} or thousands = {mark}"
        )
    keys = keys or [f'types = {{ {key} = "number" }}']
    return f"column '{name}' holds numbers as {texts.cite(is_amount)}; say {' and '.join(keys)}"


def _is_grouped(value: str) -> bool:
    return re.search(r"(?<!\d)\d{1,3}(\.\d{3})+(?!\d)", value) is not None


def strip_unit(values: pd.Series) -> tuple[str, pd.Series]:
    """Return the most frequent unit, and the numbers beside it as texts; "" beside another one.

    >>> strip_unit(pd.Series(["182 lb", "75 lb"]))[0]
    'lb'
    """
    parts = values.str.extract(rf"^{_WITH_UNIT}$")
    units = (parts["before"] + " " + parts["after"]).str.strip().fillna("")
    unit = str(units.mode().get(0, ""))
    amounts = parts["sign"] + parts["amount"].str.replace("\u2212", "-")
    return unit, amounts.where(units == unit, "").fillna("")


def suggest_dates(values: pd.Series) -> str:
    """Return ``date_format = "…"`` with the formats that all texts have; "" without one."""
    formats = [day + clock for day in _DATE_FORMATS for clock in _TIME_FORMATS]
    formats += [clock.strip() for clock in _TIME_FORMATS if clock]
    fitting = [form for form in formats if _fits(values.head(20), form) and _fits(values, form)]
    return " or ".join(f'date_format = "{form}"' for form in fitting[:2])


def _fits(values: Iterable[str], form: str) -> bool:
    dates = pd.to_datetime(pd.Series(values), format=form, errors="coerce")
    return bool(dates.notna().all())


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
