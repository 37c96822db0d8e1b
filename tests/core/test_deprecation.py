"""Renamed members of extension classes: the old name works, and warns."""

from __future__ import annotations

import warnings
from typing import ClassVar

import pytest

from ablations.core.deprecation import RenamedMembers


class Base(RenamedMembers):
    deprecated_names: ClassVar = {"terms": "penalties", "leaves": "keeps", "draw": "sample"}
    keeps = False

    def penalties(self) -> int:
        return 1

    @staticmethod
    def sample(count: int) -> int:
        return count


def test_a_subclass_may_define_and_call_the_old_names() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        class Old(Base):
            leaves = True

            def terms(self) -> int:
                return super().terms() + 1  # type: ignore[misc, no-any-return]

            @staticmethod
            def draw(count: int) -> int:
                return 2 * count

    assert [str(warning.message).partition(">.")[2] for warning in caught] == [
        "Old defines 'terms', which is now called 'penalties'",
        "Old defines 'leaves', which is now called 'keeps'",
        "Old defines 'draw', which is now called 'sample'",
    ]
    assert {warning.filename for warning in caught} == {__file__}
    assert (Old.keeps, Old.sample(2)) == (True, 4)
    with pytest.warns(DeprecationWarning, match=r"Old.terms' is now called 'penalties'"):
        assert Old().penalties() == 2  # its definition calls super().terms()
    with pytest.warns(DeprecationWarning, match="leaves' is now called"):
        assert Old.leaves is True
    with pytest.warns(DeprecationWarning, match="draw' is now called"):
        assert Old.draw(2) == 4


def test_a_caller_may_use_the_old_names_of_a_subclass_with_the_new_ones() -> None:
    class New(Base):
        keeps = True

        def penalties(self) -> int:
            return super().penalties() + 2

    with pytest.warns(DeprecationWarning, match=r"New.terms' is now called 'penalties'"):
        assert New().terms() == 3  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match="leaves' is now called"):
        assert New().leaves is True  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match="draw' is now called"):
        assert New.draw(3) == 3  # type: ignore[attr-defined]


def test_a_mixin_may_define_the_old_name() -> None:
    class Mixin:
        def terms(self) -> int:
            return 5

    with pytest.warns(DeprecationWarning, match="Mixed defines 'terms'"):

        class Mixed(Mixin, Base):
            pass

    class Derived(Mixed):
        pass

    assert Mixed().penalties() == Derived().penalties() == 5


def test_a_class_with_both_names_works_with_both_versions_and_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Both(Base):
            def penalties(self) -> int:
                return 7

            terms = penalties

    assert Both().penalties() == 7
