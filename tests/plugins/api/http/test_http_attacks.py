"""While hostile clients attack a server in a process of its own: it stays within its memory, answers others, and
writes no secret to any log. How quickly others are answered is measured by ``bench/hostile.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import attacks
import pytest
from attacks import SECRET, Attack, Target, attacked, server

MIB = 1024 * 1024
CONNECTION = 0.1
WATCH = 2.5
LIST = 5.0
BODY = 3.0
LARGE = 400.0
"""Mebibytes that the page on operations tells of a connection, of a watch and a list that nobody reads, of a body that
is being read, of the one of those that is made an object."""
ROUND = 48
"""What the server may take besides: the allocator's leftovers, the objects that attackers make."""


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with server() as running:
        yield running


@pytest.mark.parametrize(
    ("attack", "bound"),
    [
        pytest.param(attacks.thousands_of_watches, 2550 * CONNECTION, id="thousands-of-watches"),
        pytest.param(attacks.slow_heads, 500 * CONNECTION, id="slow-heads"),
        pytest.param(attacks.slow_bodies, 100 * BODY, id="slow-bodies"),
        pytest.param(attacks.oversized_bodies, 8 * 2 * BODY, id="oversized-bodies"),
        pytest.param(attacks.truncated_requests, 8 * CONNECTION, id="truncated-requests"),
        pytest.param(attacks.slow_readers_of_lists, 40 * LIST, id="slow-readers-of-lists"),
        pytest.param(attacks.slow_readers_of_watches, 200 * WATCH, id="slow-readers-of-watches"),
        pytest.param(attacks.malformed_requests, 8 * CONNECTION, id="malformed-requests"),
        pytest.param(attacks.handshakes, 10 * CONNECTION, id="handshakes"),
        pytest.param(attacks.rejected_tokens, 8 * CONNECTION, id="rejected-tokens"),
        # What these leave to do takes longer than the attack: nothing is measured after them.
        pytest.param(attacks.heavy_yaml, 4 * BODY + LARGE, id="heavy-yaml"),
        pytest.param(attacks.heavy_json, 8 * BODY + LARGE, id="heavy-json"),
    ],
)
def test_an_attacked_server_answers_others_within_its_memory_and_logs_no_secret(
    target: Target, attack: Attack, bound: float
) -> None:
    seen: Any = asyncio.run(attacked(target, attack, seconds=1.0, rate=20))
    assert len(seen.others.values) == 20
    grown = (seen.most - seen.before) / MIB
    assert grown <= bound + ROUND, f"{grown:.0f} MiB"
    assert SECRET not in target.logged()
