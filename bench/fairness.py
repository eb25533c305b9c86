"""Priority and fairness with nothing contended: ``python bench/fairness.py [count]``.

What a request pays for being classified, let in and counted out again, and its part of what a GET
costs over HTTPS. Processor time, since a machine that does something else makes waits of it. The seats are the
default's, the user one that every suggested FlowSchema is asked about.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from types import SimpleNamespace
from typing import Any

from kubernel.clock import RealClock
from kubernel.registry.request import UserInfo
from kubernel.store import ObjectStore
from kubernel_plugins.api.http.fairness import Asked, Estimate, Fairness
from kubernel_plugins.flowcontrol import LEVELS, SCHEMAS
from kubernel_plugins.store.memory import MemoryBackend

USER = UserInfo("jane", ("dev", "system:authenticated"))
GET_COST = 60.0
"""Microseconds of a GET over HTTPS on one connection; see ``bench/apiserver.py``."""


class _Lister:
    def __init__(self, specs: Any) -> None:
        self._objects = [
            {"metadata": {"name": name, "uid": name}, "spec": spec} for name, spec in specs.items()
        ]

    def add_listener(self, listener: Any) -> Any:
        return lambda: None

    def list(self) -> list[Any]:
        return self._objects


async def main(count: int) -> None:
    clock = RealClock()
    store = ObjectStore(MemoryBackend(), clock)
    informers = {"flowschemas": _Lister(SCHEMAS), "prioritylevelconfigurations": _Lister(LEVELS)}
    client = SimpleNamespace(informer=lambda resource: informers[resource.partition(".")[0]])
    registry = SimpleNamespace(store=store, lookup=lambda *told: True)
    handle: Any = SimpleNamespace(
        clock=clock, registry=registry, client=lambda *told: client, rng=random.Random(1)
    )
    fairness = Fairness(handle, 600)
    fairness.start()

    async def whole(asked: Asked) -> None:
        classified = fairness.classify(USER, asked)
        ticket = fairness.arrive(classified, USER, asked, "p", Estimate(1))
        fairness.leave(ticket)

    def at_once(asked: Asked) -> None:
        fairness.at_once(fairness.classify(USER, asked))

    pods = [Asked("get", "", "pods", "", f"ns-{number}") for number in range(100)]
    await whole(pods[0])
    begun = time.process_time()
    for number in range(count):
        await whole(pods[number % 100])
    waited = (time.process_time() - begun) / count * 1e6
    begun = time.process_time()
    for number in range(count):
        at_once(pods[number % 100])
    instant = (time.process_time() - begun) / count * 1e6
    begun = time.process_time()
    for number in range(count // 100):
        at_once(Asked("get", "", "pods", "", f"new-{number}"))
    fresh = (time.process_time() - begun) / (count // 100) * 1e6
    print(
        f"in and out of a level with seats   {waited:7.2f} us   {waited / GET_COST:6.1%} of a GET over HTTPS"
    )
    print(f"answered at once                   {instant:7.2f} us   {instant / GET_COST:6.1%}")
    print(f"a request of a kind not seen yet   {fresh:7.2f} us   {fresh / GET_COST:6.1%}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
