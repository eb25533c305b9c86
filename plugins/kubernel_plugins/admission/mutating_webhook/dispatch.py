"""The matching mutating webhooks, one after the other; each sees what those before it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from kubernel.errors import ApiError, Cause, InternalError
from kubernel.registry.conversion import convert
from kubernel.registry.decode_errors import Undecodable
from kubernel.registry.defaulting import apply_defaults
from kubernel.registry.patch import json_patch
from kubernel.registry.pruning import decode_check
from kubernel_plugins.admission.hooks import CallError
from kubernel_plugins.admission.matching import presented

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj
    from kubernel_plugins.admission.hooks import Webhook, Webhooks

__all__ = ["ask"]

_ASKED = "mutating_webhook"
"""The key in ``request.notes``: the webhooks that may be asked again, those that have to be, and the object as they
left it."""


async def ask(webhooks: Webhooks, request: Request) -> None:
    """Changes ``request.obj``. A webhook with reinvocationPolicy IfNeeded is asked once more when another, or a
    plugin, changed the object after it. Raises ApiError."""
    if request.reinvoking:
        asked, again, left = request.notes.pop(_ASKED, (set(), set(), b""))
        # What a plugin changed in between is news to all of them.
        await _repeat(webhooks, request, asked if asked and orjson.dumps(request.obj) != left else again)
        return
    before = orjson.dumps(request.obj)
    asked = set()
    again = set()
    for webhook in webhooks.all():
        type = await webhooks.match(webhook, request)
        if type is None:
            continue
        if await _one(webhooks, request, webhook, type):
            again |= asked
        if webhook.reinvoked:
            asked.add(webhook.uid)
    after = orjson.dumps(request.obj)
    request.notes[_ASKED] = (asked, again, after)
    if after != before:
        request.reinvoke = True


async def _repeat(webhooks: Webhooks, request: Request, again: set[str]) -> None:
    for webhook in webhooks.all():
        if webhook.uid in again and (type := await webhooks.match(webhook, request)) is not None:
            await _one(webhooks, request, webhook, type)


async def _one(webhooks: Webhooks, request: Request, webhook: Webhook, type: ResourceType) -> bool:
    """Whether it changed the object."""
    try:
        verdict = await webhooks.call(webhook, request, type)
    except CallError as error:
        if webhook.fails:
            raise webhooks.failure(webhook, error) from None
        webhooks.failed_open(webhook, error)
        return False
    if verdict.refusal is not None:
        raise verdict.refusal
    if not verdict.patch:
        return False
    return await _take(request, webhook, type, verdict.patch)


async def _take(request: Request, webhook: Webhook, type: ResourceType, patch: Any) -> bool:
    """Make the patched object the request's: in its version, with defaults, without what nobody knows."""
    seen, _ = await presented(request, type)
    if request.operation == "DELETE" or seen is None:
        text = (
            f'admission webhook "{webhook.name}" attempted to modify the object, which is not supported for this '
            "operation"
        )
        raise _internal(text)
    # Patching takes pieces over: they must not be the stored object's.
    before: Obj = orjson.loads(orjson.dumps(seen))
    try:
        patched: Obj = json_patch(before, patch)
    except ApiError as error:
        raise _internal(getattr(error, "why", "") or error.message) from None
    if not isinstance(patched, dict):
        raise _internal("the patched object is no object")
    own = request.type
    sub = own.subresources.get(request.subresource)
    if request.operation == "CONNECT":
        request.obj = patched
        return patched != seen
    if sub is not None and sub.schema is not None and sub.write is None:
        node, kind = sub.schema(), sub.kind
        try:
            decode_check(node, patched, kind=kind.kind, version=kind.version)
        except Undecodable as error:
            raise _internal(error.why) from None
        apply_defaults(node, patched)
        request.obj = patched
        return patched != seen
    if sub is not None and sub.write is not None:
        obj = sub.write(request.obj or {}, patched)
    else:
        try:
            decode_check(type.schema(), patched, kind=type.kind, version=type.version)
        except Undecodable as error:
            raise _internal(error.why) from None
        obj = await convert(type, own, patched)
    apply_defaults(own.schema(), obj)
    changed = obj != request.obj
    request.obj = orjson.loads(orjson.dumps(obj))
    return changed


def _internal(text: str) -> InternalError:
    return InternalError(f"Internal error occurred: {text}", causes=(Cause("", text),))
