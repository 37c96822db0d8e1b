"""Numbers and dates that are formatted for people: recognised, so that no one takes them for words.

Each is refused with the key of the study that reads it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ablations.tasks.tabular.options import ReadingOptions, as_key
from ablations.tasks.tabular.texts import Texts, parse_numbers

_AMOUNT = r"[-+\u2212]?\d{1,3}(?:[ .,'’\u00a0\u202f]\d{3})+(?:[.,]\d+)?|[-+\u2212]?\d+(?:[.,]\d+)?"
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
_LOOSE = (
    r"(?is)\W*\d.*|(?:(?:mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
    r"|mär|mai|okt|dez)[^\W\d]*\.?[\W_]+)+\d.*"
)
"""A text that begins with a number, or with the name of a day or month before one."""
_MAX_WORDS = 20
"""Most different words beside such numbers: days and months have fewer, hexadecimal codes more."""
_MARKS = ((",", ""), (".", ","), (",", "."), (".", "'"), (".", "’"), (".", " "), (",", " "))
"""Decimal mark and mark of thousands, as people use them."""
_DATE_FORMATS = (
    "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d/%m/%y",
    "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d %B %Y", "%b %d, %Y",
    "%B %d, %Y", "%b %d %Y", "%d. %B %Y",
)  # fmt: skip
_TIME_FORMATS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


def find_problem(
    name: str, texts: Texts, options: ReadingOptions, decimal: str, *, infers: bool
) -> str:
    """Return why a column of words cannot be used: most of it are numbers or dates; or "".

    ``infers`` says whether texts that are plain numbers are read as numbers.
    """
    sample = texts.sample()
    if not any(sample.share(mask) > 0.4 for mask in _detect(sample.values, options, decimal)):
        return ""
    values, words = texts.values, f'types = {{ {as_key(name)} = "category" }}'
    as_words, as_numbers = f"or {words}", words.replace('"category"', '"number"')
    numbers, dates, formatted_dates, amounts, loose = _detect(values, options, decimal)
    if amounts.all() and not numbers.all() and (keys := _suggest_marks(values, options)):
        message = f"column '{name}' holds numbers as {texts.cite(~numbers)}"
        keys = keys if infers else f"{as_numbers} and {keys}"
        return f"{message}; say {keys}, {as_words}"
    for noun, is_wanted in (("numbers", numbers), ("dates", dates)):
        if is_wanted.all() and (len(values) < _MIN_AMOUNTS or _are_codes(values)):
            return ""
        if is_wanted.all():
            message = f"column '{name}' holds {noun} as text, {texts.cite(is_wanted)}"
            kind = as_numbers.replace('"number"', f'"{noun.removesuffix("s")}"')
            return f"{message}; say {kind}, {as_words}"
        if 0.5 < texts.share(is_wanted) < 1:
            message = f"column '{name}' holds {noun}, but also {texts.cite(~is_wanted)}"
            marks = ", ".join(map(_quote, texts.unmarked[~is_wanted].head(5)))
            return f"{message}; correct it, or say missing = [{marks}], {as_words}"
    if texts.share(formatted_dates) > 0.5:
        message = f"column '{name}' holds dates as {texts.cite(formatted_dates)}"
        formats = suggest_dates(values[formatted_dates])
        if not formats and values[formatted_dates].str.fullmatch(_TIME).all():
            message = f"{message}; write lengths of time as numbers"
            return f"{message}, or say {words}"
        formats = formats or 'date_format, such as date_format = "%d/%m/%Y"'
        return f"{message}; say {formats}, {as_words}"
    is_bracketed = np.asarray(values.str.fullmatch(_BRACKETED), dtype=bool)
    if texts.share(amounts | is_bracketed) > 0.5 and is_bracketed.any():
        message = f"column '{name}' holds numbers as {texts.cite(is_bracketed)}"
        return f"{message}; write them with a minus sign, or say {words}"
    if texts.share(amounts) > 0.5 and (is_unit := _find_unit(texts, amounts)).any():
        return f"{_describe(name, texts, is_unit, options, decimal)} {words}"
    n_rows, count = len(texts.codes), len(values)
    if _MAX_AMOUNTS < count <= n_rows // 2 and texts.share(loose) > 0.5:
        names = values[loose].str.findall(r"[^\W\d]+").explode().dropna()
        if names.nunique() <= _MAX_WORDS:
            message = f"column '{name}' holds {count:,} texts such as {texts.cite(loose)}"
            advice = "write them as plain numbers or as YYYY-MM-DD"
            return f"{message}; {advice}, or say {words}"
    return ""


def _are_codes(values: pd.Series) -> bool:
    """Return whether there are leading zeros."""
    return bool(values.str.fullmatch(r"[-+]?0\d+").any())


def _detect(values: pd.Series, options: ReadingOptions, decimal: str) -> tuple[np.ndarray, ...]:
    """Return which texts are numbers, dates, the same formatted for people, and loose amounts."""
    return (
        ~np.isnan(parse_numbers(values, decimal, options.thousands)),
        np.asarray(pd.to_datetime(values, format="ISO8601", errors="coerce", utc=True).notna()),
        np.asarray(values.str.fullmatch(_DATE), dtype=bool),
        np.asarray(values.str.fullmatch(f"{_WITH_UNIT}|{_BRACKETED}"), dtype=bool),
        np.asarray(values.str.fullmatch(_LOOSE), dtype=bool),
    )


def _suggest_marks(amounts: pd.Series, options: ReadingOptions) -> str:
    """Return the keys with which all amounts are numbers; "" without any."""
    suggestions = list[str]()
    characters = {*"".join(amounts), ""} | ({" "} if amounts.str.contains(r"\s").any() else set())
    for mark, group in _MARKS:
        if mark not in (options.decimal or mark) or group not in (options.thousands or group):
            continue
        is_absent = mark == "," and mark not in characters and group != "."
        is_absent |= group not in characters
        if is_absent or np.isnan(parse_numbers(amounts, mark, group)).any():
            continue
        keys = [f"thousands = {_quote(group)}"] * bool(group and not options.thousands)
        keys += [f"decimal = {_quote(mark)}"] * (mark not in (".", options.decimal))
        if keys:
            suggestions.append(" and ".join(keys))
    return " or ".join(suggestions[:2])


def _find_unit(texts: Texts, is_amount: np.ndarray) -> np.ndarray:
    """Return which amounts have the most frequent unit; none, if they may be few categories."""
    parts = texts.values.str.extract(rf"^{_WITH_UNIT}$")
    units = (parts["before"].fillna("") + " " + parts["after"].fillna("")).str.strip()
    is_unit = is_amount & np.asarray(units == units[is_amount].mode().get(0, ""), dtype=bool)
    is_mixed = texts.share(is_unit) <= 0.5
    has_units = bool(parts["after"][is_amount].str.len().gt(0).all())
    is_few = is_unit.sum() < _MIN_AMOUNTS or (is_mixed and is_amount.sum() <= _MAX_AMOUNTS)
    return np.asarray(is_unit & (not is_few and (has_units or not is_mixed)))


def _describe(
    name: str, texts: Texts, is_amount: np.ndarray, options: ReadingOptions, decimal: str
) -> str:
    """Return what the amounts of one unit are, and the keys that read them."""
    message = f"column '{name}' holds numbers as {texts.cite(is_amount)}"
    unit, amounts = strip_unit(texts.values[is_amount])
    keys = [f'types = {{ {as_key(name)} = "number" }}'] * bool(unit)
    if np.isnan(parse_numbers(amounts, decimal, options.thousands)).any():
        marks = _suggest_marks(amounts, options)
        if not marks:
            reason = f", with another mark than decimal = {decimal!r}" if options.decimal else ""
            return f"{message}{reason}; write them alike, or say"
        keys.append(marks)
    if not is_amount.all():
        message = f"{message}, but also {texts.cite(~is_amount)}"
        if texts.values[~is_amount].str.fullmatch(_WITH_UNIT).any():
            return f"{message}; write them in one unit, or say"
        others = ", ".join(map(_quote, texts.unmarked[~is_amount].head(5)))
        keys.append(f"missing = [{others}]")
    return f"{message}; say {' and '.join(keys)}, or"


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
