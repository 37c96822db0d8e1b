"""The random streams: known vectors, distributions, independence, and no state anywhere."""

from __future__ import annotations

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from scipy import stats

from ablations.core.random import StackedStreams, Streams, _mix_on_device, _multiples, mix

PURPOSES = st.text(min_size=1, max_size=20)
SEEDS = st.integers(0, 2**40)


def test_words_are_those_of_splitmix64() -> None:
    # The generator's published first outputs for the state 1234567.
    words = mix(_multiples(5, torch.device("cpu")) + 1234567)
    assert [int(word) % 2**64 for word in words] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_other_devices_mix_the_same_words() -> None:
    words = Streams(1).words(1000, "any")
    assert torch.equal(mix(words.clone()), _mix_on_device(words.clone()))


@hypothesis.given(seed=SEEDS, purpose=PURPOSES, counter=st.integers(0, 10**9))
def test_a_draw_is_a_function_of_its_key(seed: int, purpose: str, counter: int) -> None:
    first = Streams(seed).words(9, purpose, counter)
    Streams(seed).words(100, purpose, counter + 1)
    assert torch.equal(first, Streams(seed).words(9, purpose, counter))
    # A longer draw begins with the shorter one.
    assert torch.equal(first, Streams(seed).words(20, purpose, counter)[:9])


@pytest.mark.parametrize(
    ("first", "other"),
    [((0, "a", 0), (1, "a", 0)), ((0, "a", 0), (0, "b", 0)), ((0, "a", 0), (0, "a", 1))],
)
def test_streams_of_different_keys_are_uncorrelated(
    first: tuple[int, str, int], other: tuple[int, str, int]
) -> None:
    x, y = (Streams(seed).uniform((50_000,), what, n) for seed, what, n in (first, other))
    assert abs(float(torch.corrcoef(torch.stack([x, y]))[0, 1])) < 4 / 50_000**0.5


def test_uniform_and_normal_have_their_distributions() -> None:
    streams = Streams(3)
    assert stats.kstest(streams.uniform((100_000,), "u").numpy(), "uniform").pvalue > 1e-3
    normal = streams.normal((100_000,), "n")
    assert stats.kstest(normal.numpy(), "norm").pvalue > 1e-3
    assert torch.isfinite(normal).all()


@hypothesis.given(seed=SEEDS, count=st.integers(1, 300))
def test_permutation_holds_every_number_once(seed: int, count: int) -> None:
    assert Streams(seed).permutation(count, "order").sort().values.tolist() == list(range(count))


def test_lanes_are_uniform() -> None:
    lanes = Streams(5).lanes((1000, 333), "dropout/1")
    assert lanes.dtype == torch.int16
    assert lanes.shape == (1000, 333)
    counts = torch.bincount((lanes.flatten().to(torch.int64) + 2**15) // 256, minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_lanes_are_independent_of_their_neighbours() -> None:
    lanes = torch.stack([Streams(1).lanes((5000, 8), "dropout/1", n) for n in range(2)])
    bits = (lanes >= 0).to(torch.float64).permute(1, 0, 2).reshape(5000, 16).T
    off_diagonal = torch.corrcoef(bits) - torch.eye(16, dtype=torch.float64)
    assert float(off_diagonal.abs().max()) < 5 / 5000**0.5


@hypothesis.given(
    seeds=st.lists(SEEDS, min_size=1, max_size=5),
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    counter=st.integers(0, 10**6),
)
def test_stacked_streams_draw_what_each_seed_draws(
    seeds: list[int], shape: list[int], counter: int
) -> None:
    streams = StackedStreams(tuple(seeds))
    for kind in ("lanes", "normal"):
        alone = [getattr(Streams(seed), kind)(shape, "p", counter) for seed in seeds]
        assert torch.equal(getattr(streams, kind)(shape, "p", counter), torch.stack(alone))
    orders = [Streams(seed).permutation(shape[0], "p", counter) for seed in seeds]
    assert torch.equal(streams.permutation(shape[0], "p", counter), torch.stack(orders))


def test_nothing_touches_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    streams = Streams(0)
    streams.normal((4,), "n")
    streams.generator("init").initial_seed()
    assert torch.equal(before, torch.random.get_rng_state())
