"""Creating and deleting the pods of one owner in bulk, told to its expectations and in events.

Source: k8s.io/kubernetes/pkg/controller/controller_utils.go (v1.37).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubernel.errors import ApiError, NotFound
from kubernel.objects import meta
from kubernel_plugins.controller.ownership import namespace_is_terminating

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.client.expectations import Expectations
    from kubernel.client.recorder import EventRecorder
    from kubernel.store.records import EventType, Obj

__all__ = ["PodControl"]


class PodControl:
    """Expectations are kept by the owner's uid."""

    def __init__(self, client: Client, recorder: EventRecorder, expected: Expectations) -> None:
        self._client = client
        self._recorder = recorder
        self._expected = expected

    def observe(self, type: EventType, pod: Obj, old: Obj | None) -> None:
        """A listener of the pods' informer: what was expected has arrived."""
        controller = meta.controller_of(pod)
        if controller is None:
            return
        if type == "ADDED":
            self._expected.creation_observed(controller["uid"])
        if type == "DELETED" or meta.is_deleting(pod):
            self._expected.deletion_observed(controller["uid"], meta.uid(pod))

    async def create(self, owner: Obj, wanted: Sequence[Obj]) -> tuple[int, ApiError | None]:
        """Create in batches of 1, 2, 4, …: when the first is refused, the others need not be tried.
        ``(how many were made, the first refusal)``; that the namespace goes away is none."""
        try:
            return await self._create(owner, wanted)
        except asyncio.CancelledError:
            # Stopped half-way, or no longer the leader: what was not sent will not arrive.
            self._expected.forget(meta.uid(owner))
            raise

    async def _create(self, owner: Obj, wanted: Sequence[Obj]) -> tuple[int, ApiError | None]:
        uid = meta.uid(owner)
        self._expected.expect_creations(uid, len(wanted))
        done, batch = 0, 1
        while done < len(wanted):
            part = wanted[done : done + batch]
            results = await asyncio.gather(
                *(self._create_one(owner, pod) for pod in part), return_exceptions=True
            )
            done += len(part)
            failed = [result for result in results if isinstance(result, BaseException)]
            if failed:
                for _ in range(len(failed) + len(wanted) - done):
                    self._expected.creation_observed(uid)
                made = done - len(failed)
                return made, None if namespace_is_terminating(failed[0]) else _as_api_error(failed[0])
            batch *= 2
        return done, None

    async def _create_one(self, owner: Obj, pod: Obj) -> None:
        try:
            created = await self._client.create("pods", pod, meta.namespace(owner))
        except ApiError as error:
            if not namespace_is_terminating(error):
                text = f"Error creating: {error.message}"
                await self._recorder.event(owner, "Warning", "FailedCreate", text)
            raise
        await self._recorder.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {meta.name(created)}")

    async def delete(self, owner: Obj, chosen: Sequence[Obj]) -> tuple[list[Obj], ApiError | None]:
        """Delete all of them; ``(those that are gone or going, the first refusal)``."""
        self._expected.expect_deletions(meta.uid(owner), *(meta.uid(pod) for pod in chosen))
        results = await asyncio.gather(
            *(self._delete_one(owner, pod) for pod in chosen), return_exceptions=True
        )
        failed = [result for result in results if isinstance(result, BaseException)]
        gone = [
            pod for pod, result in zip(chosen, results, strict=True) if not isinstance(result, BaseException)
        ]
        return gone, _as_api_error(failed[0]) if failed else None

    async def _delete_one(self, owner: Obj, pod: Obj) -> None:
        try:
            await self._client.delete("pods", meta.name(pod), meta.namespace(pod), uid=meta.uid(pod))
        except BaseException as error:
            self._expected.deletion_observed(meta.uid(owner), meta.uid(pod))
            if isinstance(error, NotFound):
                return
            if isinstance(error, ApiError):
                text = f"Error deleting: {error.message}"
                await self._recorder.event(owner, "Warning", "FailedDelete", text)
            raise
        await self._recorder.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {meta.name(pod)}")


def _as_api_error(error: BaseException) -> ApiError:
    if isinstance(error, ApiError):
        return error
    raise error
