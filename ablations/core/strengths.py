"""Parameters as a reader needs them: in a few words, without quotes and brackets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def list_parameters(parameters: Mapping[str, Any]) -> str:
    """List parameters for a reader: ``weight 0.01``."""
    texts = (f"{name.replace('_', ' ')} {format_plain(v)}" for name, v in parameters.items())
    return ", ".join(texts)


def format_plain(value: object) -> str:
    """Write a parameter for a reader: ``0.01``, ``1e-5``, ``0.5, 0.2``."""
    if isinstance(value, (tuple, list)):
        return ", ".join(map(format_plain, value))
    if isinstance(value, float):
        mantissa, _, exponent = f"{value:.12g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return str(value)


def format_share(fraction: float) -> str:
    """Write a share of a run for a reader: ``25 %``."""
    return f"{100 * fraction:.6g}\N{NARROW NO-BREAK SPACE}%"
