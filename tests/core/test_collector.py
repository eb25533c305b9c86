"""The collector's policy: nothing while loading, little afterwards, nothing leaked for ever."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from kubernel.collector import SWEEP_FREELY, CollectorPolicy


@pytest.fixture
def policy() -> Iterator[CollectorPolicy]:
    made = CollectorPolicy()
    yield made
    made.restore()


class Ring:
    """Garbage that only the collector can free."""

    def __init__(self) -> None:
        self.me = self


def test_nothing_is_collected_while_the_cluster_loads(policy: CollectorPolicy) -> None:
    policy.loading()
    assert not gc.isenabled()
    policy.loaded()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_what_survives_a_full_collection_is_not_looked_at_again(policy: CollectorPolicy) -> None:
    policy.loaded()
    before = gc.get_freeze_count()
    kept = [[number] for number in range(1000)]
    gc.collect()
    assert gc.get_freeze_count() >= before + len(kept)


def test_a_sweep_finds_cycles_that_died_out_of_sight(policy: CollectorPolicy) -> None:
    ring = Ring()
    seen = weakref.ref(ring)
    policy.loaded()
    del ring
    gc.collect()
    assert seen() is not None
    if gc.get_freeze_count() > SWEEP_FREELY:
        policy._swept = 0
    assert policy.sweep()
    assert seen() is None


def test_a_large_heap_is_swept_only_when_it_has_doubled(
    policy: CollectorPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy.loaded()
    monkeypatch.setattr("kubernel.collector.SWEEP_FREELY", 0)
    assert not policy.sweep()
    policy._swept = 1
    assert policy.sweep()


def test_everything_can_be_put_back(policy: CollectorPolicy) -> None:
    before = (gc.get_threshold(), list(gc.callbacks))
    policy.loading()
    policy.loaded()
    policy.restore()
    assert (gc.get_threshold(), list(gc.callbacks)) == before
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
