"""The end of a pod on purpose: its status says why before it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.objects import conditions, meta

if TYPE_CHECKING:
    from kubernel.client.interface import Client
    from kubernel.clock import Clock
    from kubernel.store.records import Obj

__all__ = ["disrupt"]


async def disrupt(client: Client, clock: Clock, pod: Obj, reason: str, message: str, **fields: Any) -> None:
    """Delete ``pod``, as it is now, with the condition DisruptionTarget; ``fields`` are further ones of that. Raises
    NotFound and Conflict when it is another by now, or gone."""
    found, changed = conditions.set(
        meta.get(pod, "status", "conditions"),
        "DisruptionTarget",
        "True",
        reason,
        message,
        rfc3339(clock.time()),
        **fields,
    )
    if changed:
        marked = meta.replace(pod, ("status", "conditions"), found)
        await client.update("pods", marked, subresource="status")
    await client.delete("pods", meta.name(pod), meta.namespace(pod), uid=meta.uid(pod))
