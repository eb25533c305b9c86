"""Leader election on Leases: of several masters one acts.

As client-go's leaderelection: candidates watch how the Lease changes, not what times it holds, so that their
clocks need not agree; a holder whose Lease has not changed for ``lease_duration`` is gone. The
leader stops its work when it could not renew for ``renew_deadline``, which is shorter, counted from
when it *sent* its last successful renewal: it has stopped before anyone else may begin.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from kubernel.clock import micro_time
from kubernel.errors import ApiError, NotFound

if TYPE_CHECKING:
    import random

    from kubernel.client.interface import Client
    from kubernel.clock import Clock
    from kubernel.store.records import Obj

__all__ = ["LeaderElector"]

_LEASES = "leases.v1.coordination.k8s.io"
_JITTER = 1.2


class LeaderElector:
    """One candidate for the Lease ``namespace``/``name``; times are seconds.

    The work's own clean-up, after it was cancelled, must end within ``lease_duration - renew_deadline``.
    """

    def __init__(
        self,
        client: Client,
        clock: Clock,
        rng: random.Random,
        name: str,
        *,
        namespace: str = "kube-system",
        identity: str = "",
        lease_duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
    ) -> None:
        if not lease_duration > renew_deadline > retry_period * _JITTER > 0:
            raise ValueError("lease_duration > renew_deadline > 1.2 * retry_period > 0 must hold")
        self._client = client
        self._clock = clock
        self._rng = rng
        self._name = name
        self._namespace = namespace
        self.identity = identity or f"{name}_{rng.getrandbits(128):032x}"
        self._duration = lease_duration
        self._deadline = renew_deadline
        self._period = retry_period
        self._observed: Obj | None = None
        self._observed_at = 0.0
        self._renewed_at = 0.0
        self._leading = False

    @property
    def is_leader(self) -> bool:
        """Whether the work is running, or ending, here."""
        return self._leading

    @property
    def leader(self) -> str:
        """The identity that held the Lease when it was last seen; empty when nobody did."""
        return self._spec().get("holderIdentity") or ""

    async def run(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Run ``work()`` whenever, and only while, leading; cancel it when leadership is lost and stand
        again. Returns when the work returns, raises what it raises. Gives the Lease up at the end."""
        while True:
            await self._acquire()
            self._leading = True
            working = asyncio.ensure_future(_as_coroutine(work))
            renewing = asyncio.ensure_future(self._renew())
            try:
                await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
                finished = working.done()
            finally:
                await _end(working)
                self._leading = False
                await _end(renewing)
                held = self._holds() and self._clock.monotonic() < self._renewed_at + self._deadline
                if held:
                    await self._release()
            if finished:
                working.result()
                return

    async def _acquire(self) -> None:
        while not await self._safely(self._try()):
            await self._clock.sleep(self._period * (1.0 + self._rng.random() * _JITTER))

    async def _renew(self) -> None:
        """Return when leadership is lost."""
        while True:
            left = self._renewed_at + self._deadline - self._clock.monotonic()
            if left <= 0:
                return
            try:
                async with self._clock.timeout(left):
                    await self._clock.sleep(self._period)
                    while not await self._safely(self._try()):
                        if not self._holds():
                            return
                        await self._clock.sleep(self._period)
            except TimeoutError:
                return

    async def _safely(self, attempt: Awaitable[bool]) -> bool:
        try:
            return await attempt
        except (ApiError, OSError):
            return False

    async def _try(self) -> bool:
        """Take or renew the Lease; whether it is held now and long enough to act on it."""
        begun = self._clock.monotonic()
        now = micro_time(self._clock.time())
        spec: Obj = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._duration),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": 0,
        }
        try:
            lease = await self._client.get(_LEASES, self._name, self._namespace)
        except NotFound:
            lease = await self._client.create(
                _LEASES,
                {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": {"name": self._name, "namespace": self._namespace},
                    "spec": spec,
                },
                self._namespace,
            )
            return self._take(lease, begun)
        self._observe(lease)
        held = self._spec()
        holder = held.get("holderIdentity") or ""
        seconds = held.get("leaseDurationSeconds") or 0
        if holder and holder != self.identity and begun < self._observed_at + seconds:
            return False
        transitions = held.get("leaseTransitions") or 0
        if holder == self.identity:
            spec["acquireTime"] = held.get("acquireTime") or now
            spec["leaseTransitions"] = transitions
        else:
            spec["leaseTransitions"] = transitions + 1
        # The resourceVersion in it makes the server refuse when somebody else was quicker.
        lease = await self._client.update(_LEASES, {**lease, "spec": {**held, **spec}})
        return self._take(lease, begun)

    def _take(self, lease: Obj, begun: float) -> bool:
        self._observe(lease)
        if self._clock.monotonic() >= begun + self._deadline:
            # The answer came so late that the Lease may be somebody else's by now.
            return False
        self._renewed_at = begun
        return True

    def _observe(self, lease: Obj) -> None:
        if self._observed is None or self._observed.get("spec") != lease.get("spec"):
            self._observed_at = self._clock.monotonic()
        self._observed = lease

    def _spec(self) -> Obj:
        spec: Obj = (self._observed or {}).get("spec") or {}
        return spec

    def _holds(self) -> bool:
        return self._spec().get("holderIdentity") == self.identity

    async def _release(self) -> None:
        lease, now = self._observed, micro_time(self._clock.time())
        if lease is None:
            return
        spec = {
            **self._spec(),
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "acquireTime": now,
            "renewTime": now,
        }
        with contextlib.suppress(ApiError, OSError, TimeoutError):
            async with self._clock.timeout(self._period):
                self._observe(await self._client.update(_LEASES, {**lease, "spec": spec}))


async def _as_coroutine(work: Callable[[], Awaitable[Any]]) -> Any:
    return await work()


async def _end(task: asyncio.Future[Any]) -> None:
    """Cancel and wait until it has really ended."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
