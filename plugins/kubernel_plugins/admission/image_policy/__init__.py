"""ImagePolicyWebhook: another server says which images may run.

Source: k8s.io/kubernetes/plugin/pkg/admission/imagepolicy (v1.37).
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.config import Duration
from kubernel.errors import Forbidden
from kubernel.objects import meta
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel.registry.request import AUDIT_NOTES

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj
    from kubernel_plugins.webhooks import Caller, Target

__all__ = ["Plugin", "Settings"]

_KEPT = 1024
_PREFIX = "imagepolicywebhook.image-policy.k8s.io/"
_MARK = ".image-policy.k8s.io/"


@dataclass(frozen=True, slots=True)
class Settings:
    """``kubeconfig`` names the server. ``default_allow`` is what no answer means."""

    kubeconfig: str
    allow_ttl: Duration = 300.0
    deny_ttl: Duration = 30.0
    timeout: Duration = 30.0
    default_allow: bool = False


class Plugin(Base):
    """The ``image_policy`` admission plugin."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._target: Target | None = None
        self._caller: Caller | None = None
        self._answers: dict[bytes, tuple[float, dict[str, Any]]] = {}

    async def start(self) -> None:
        from kubernel_plugins.webhooks import Caller, Target

        self._target = Target.of_kubeconfig(self.settings.kubeconfig)
        self._caller = Caller(self.handle)

    async def stop(self) -> None:
        if self._caller is not None:
            caller, self._caller = self._caller, None
            await caller.close()

    @hookimpl
    def kubernel_validate(self, request: Request) -> Awaitable[None] | None:
        if request.type.plural != "pods" or request.type.group or request.obj is None:
            return None
        if request.subresource not in ("", "ephemeralcontainers") or request.verb == "connect":
            return None
        return self._review(request, request.obj)

    async def _review(self, request: Request, pod: Obj) -> None:
        from kubernel_plugins.webhooks import CallFailed

        images = [
            {"image": container.get("image", "")}
            for kind in ("initContainers", "containers", "ephemeralContainers")
            for container in pod["spec"].get(kind) or ()
        ]
        marks = {key: value for key, value in meta.annotations(pod).items() if _MARK in key}
        spec: dict[str, Any] = {"containers": images, "namespace": request.namespace}
        if marks:
            spec["annotations"] = marks
        key = orjson.dumps(spec)
        now = self.handle.clock.monotonic()
        known = self._answers.get(key)
        if known is not None and known[0] > now:
            status = known[1]
        else:
            review = {"kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1", "spec": spec}
            try:
                status = await self._ask(orjson.dumps(review))
            except (CallFailed, orjson.JSONDecodeError, AttributeError) as error:
                if not self.settings.default_allow:
                    raise _refused(request, str(error)) from None
                request.notes.setdefault(AUDIT_NOTES, {})[f"{_PREFIX}failed-open"] = "true"
                return
            seconds = self.settings.allow_ttl if status.get("allowed") else self.settings.deny_ttl
            if len(self._answers) >= _KEPT:
                self._answers.clear()
            self._answers[key] = (now + seconds, status)
        for name, value in (status.get("auditAnnotations") or {}).items():
            request.notes.setdefault(AUDIT_NOTES, {})[f"{_PREFIX}{name}"] = value
        if not status.get("allowed"):
            reason = status.get("reason") or ""
            told = f"image policy webhook backend denied one or more images: {reason}" if reason else (
                "one or more images rejected by webhook backend"
            )  # fmt: skip
            raise _refused(request, told)

    async def _ask(self, body: bytes) -> dict[str, Any]:
        assert self._caller is not None  # noqa: S101 - started
        assert self._target is not None  # noqa: S101 - started
        answer = orjson.loads(await self._caller.post(self._target, body, int(self.settings.timeout)))
        status: dict[str, Any] = answer.get("status") or {}
        return status


def _refused(request: Request, why: str) -> Forbidden:
    return Forbidden.for_object("pods", "", request.name, why)
