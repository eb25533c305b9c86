from __future__ import annotations

import asyncio

from fake_api import run, settle

from kubernel.client.expectations import Expectations
from kubernel.clock import VirtualClock


def test_satisfied_once_all_that_was_asked_for_has_arrived() -> None:
    expected = Expectations(VirtualClock())
    assert expected.satisfied("rs")
    expected.expect_creations("rs", 2)
    expected.expect_deletions("rs", "u1", "u2")
    for _ in range(2):
        expected.creation_observed("rs")
        assert not expected.satisfied("rs")
    expected.deletion_observed("rs", "u1")
    expected.deletion_observed("rs", "u1")
    assert not expected.satisfied("rs")
    expected.deletion_observed("rs", "u2")
    assert expected.satisfied("rs")


def test_what_was_never_expected_counts_for_nothing() -> None:
    expected = Expectations(VirtualClock())
    expected.creation_observed("rs")
    expected.expect_creations("rs", 1)
    assert not expected.satisfied("rs")
    expected.forget("rs")
    assert expected.satisfied("rs")


def test_a_missing_event_is_given_up_after_five_minutes() -> None:
    async def check() -> None:
        clock = VirtualClock()
        expected = Expectations(clock)
        expected.expect_creations("rs", 1)
        await clock.advance(299, settle)
        assert not expected.satisfied("rs")
        await clock.advance(2, settle)
        assert expected.satisfied("rs")

    run(check())


def test_it_is_known_when_a_missing_event_is_given_up() -> None:
    clock = VirtualClock()
    expected = Expectations(clock, timeout=300)
    assert expected.give_up_in("web") == 0
    expected.expect_creations("web", 1)
    left = expected.give_up_in("web")
    assert 300 < left < 301
    asyncio.run(clock.advance(left, lambda: asyncio.sleep(0)))
    assert expected.give_up_in("web") == 0
    assert expected.satisfied("web")
