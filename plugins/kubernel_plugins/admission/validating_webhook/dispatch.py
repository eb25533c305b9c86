"""All matching validating webhooks at once; the first refusal, in their order, decides."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kubernel.errors import ApiError
from kubernel_plugins.admission.hooks import CallError

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.registry.types import ResourceType
    from kubernel_plugins.admission.hooks import Webhook, Webhooks

__all__ = ["ask"]


async def ask(webhooks: Webhooks, request: Request) -> None:
    """Raises ApiError."""
    asked = [
        (webhook, type)
        for webhook in webhooks.all()
        if (type := await webhooks.match(webhook, request)) is not None
    ]
    if not asked:
        return
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_one(webhooks, request, *one)) for one in asked]
    for task in tasks:
        if (error := task.result()) is not None:
            raise error


async def _one(webhooks: Webhooks, request: Request, webhook: Webhook, type: ResourceType) -> ApiError | None:
    try:
        return (await webhooks.call(webhook, request, type)).refusal
    except CallError as error:
        if webhook.fails:
            return webhooks.failure(webhook, error)
        webhooks.failed_open(webhook, error)
        return None
    except ApiError as error:
        return error
