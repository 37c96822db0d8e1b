"""Random signs are the same, however many are drawn at a time."""

from __future__ import annotations

import numpy as np
import pytest

from ablations.analysis import inference


@pytest.mark.parametrize("at_a_time", [1, 1_000, 2**20])
@pytest.mark.parametrize("n", [21, 333])
def test_signs_drawn_in_blocks_are_those_drawn_at_once(
    n: int, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "SIGNS_AT_A_TIME", at_a_time)
    at_once = np.random.default_rng(0).choice([-1.0, 1.0], size=(200, n))
    signs = inference.draw_signs.__wrapped__(n, 201, 3)
    assert np.array_equal(signs, np.vstack([np.ones((1, n)), at_once]))
