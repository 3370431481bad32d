"""What is missing is named, with how to get it."""

from __future__ import annotations

import sys

import pytest

from virtagent.bench.extras import require
from virtagent.errors import UsageError


def test_with_everything_there_nothing_is_said() -> None:
    require(plots=True)


@pytest.mark.parametrize(
    ("gone", "text"),
    [
        (["numpy"], "numpy is missing; pip install 'virtagent[bench]'"),
        (["hdrh", "matplotlib"], "hdrhistogram and matplotlib are missing; pip install 'virtagent[bench]'"),
    ],
)
def test_what_is_missing_is_named(gone: list[str], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in gone:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as caught:
        require(plots=True)
    assert str(caught.value) == text


def test_without_a_plot_matplotlib_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    require(plots=False)
