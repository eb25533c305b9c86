"""Startup, readiness and liveness: asking a container how it is, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel_plugins.node.kubelet.handlers import handle

if TYPE_CHECKING:
    from kubernel.clock import Clock
    from kubernel.plugin.contract import Runtime
    from kubernel.store.records import Obj

__all__ = ["Prober"]


class Prober:
    """Runs one probe of one container until stopped.

    ``on_result(ok, message)`` is called when ``successThreshold`` or ``failureThreshold`` is reached and at
    each single failure ``on_failure(message)``. Thresholds count consecutive results.
    """

    def __init__(
        self,
        kind: str,
        probe: Mapping[str, Any],
        *,
        pod: Callable[[], Obj],
        container: Mapping[str, Any],
        container_id: str,
        address: str,
        started: float,
        runtime: Runtime,
        clock: Clock,
        on_result: Callable[[str, bool, str], None],
        on_failure: Callable[[str, str], None],
    ) -> None:
        self.kind = kind
        self._probe = probe
        self._pod = pod
        self._container = container
        self._id = container_id
        self._address = address
        self._started = started
        self._runtime = runtime
        self._clock = clock
        self._on_result = on_result
        self._on_failure = on_failure
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"{kind} probe")

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        probe = self._probe
        period = float(probe.get("periodSeconds") or 10)
        wanted = {
            True: int(probe.get("successThreshold") or 1),
            False: int(probe.get("failureThreshold") or 3),
        }
        await self._clock.sleep(
            self._started + float(probe.get("initialDelaySeconds") or 0) - self._clock.time()
        )
        last, count = True, 0
        while True:
            ok, message = await self._ask()
            count = count + 1 if ok is last else 1
            last = ok
            if not ok:
                self._on_failure(self.kind, message)
            if count >= wanted[ok]:
                self._on_result(self.kind, ok, message)
            await self._clock.sleep(period)

    async def _ask(self) -> tuple[bool, str]:
        timeout = float(self._probe.get("timeoutSeconds") or 1)
        answer = await self._runtime.probe(self._id, self._pod(), {"kind": self.kind, **self._probe}, timeout)
        if answer is not None:
            return answer, "" if answer else "simulated failure"
        return await handle(
            self._probe,
            container=self._container,
            container_id=self._id,
            address=self._address,
            runtime=self._runtime,
            clock=self._clock,
            timeout=timeout,
        )
