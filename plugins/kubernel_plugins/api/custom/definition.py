"""What is peculiar to CustomResourceDefinitions.

Source: k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition/{strategy,etcd}.go,
pkg/apis/apiextensions/v1/defaults.go (v1.37).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.objects import conditions
from kubernel.registry.types import Strategy

if TYPE_CHECKING:
    from kubernel.clock import Clock
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel.registry.schema import Node

__all__ = ["FINALIZER", "DefinitionStrategy"]

Obj = dict[str, Any]

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_PENDING = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
_UNSUPPORTED_SET = (
    'x-kubernetes-list-type: set for items of type "{}" is not supported by server-side apply or CEL '
    "validation rules"
)
_WEBHOOK_PORT = 443


class DefinitionStrategy(Strategy):
    """``metadata`` is the node of ObjectMeta, which every custom resource has."""

    any_finalizer = True
    thorough = True
    resets = MappingProxyType({"status": ("metadata", "spec")})
    unconditional_update = False

    def __init__(self, clock: Clock, metadata: Node) -> None:
        self._clock = clock
        self._metadata = metadata

    def default(self, obj: Obj) -> None:
        spec = obj.get("spec")
        if not spec:
            return
        names = spec.setdefault("names", {})
        kind = names.get("kind") or ""
        if not names.get("singular"):
            names["singular"] = kind.lower()
        if not names.get("listKind") and kind:
            names["listKind"] = f"{kind}List"
        if not (obj.get("status") or {}).get("storedVersions"):
            _remember_storage(obj)
        conversion = spec.get("conversion")
        if conversion is None:
            spec["conversion"] = {"strategy": "None"}
            return
        service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", _WEBHOOK_PORT)

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        obj["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}}
        obj["metadata"]["generation"] = 1
        _remember_storage(obj)

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(request, obj, old)
        if request.subresource != "status":
            _remember_storage(obj)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        from kubernel_plugins.api.custom.rules import check_definition

        return check_definition(obj, None, self._metadata)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        from kubernel_plugins.api.custom.rules import check_definition, check_status

        if request.subresource == "status":
            return check_status(obj)
        return check_definition(obj, old, self._metadata)

    def warnings(self, request: Request, obj: Obj) -> list[str]:
        if request.subresource:
            return []
        from kubernel_plugins.api.custom.rules import unknown_formats, unsupported_sets

        formats = [f'unrecognized format "{name}"' for name in unknown_formats(obj)]
        sets = [_UNSUPPORTED_SET.format(type) for type in unsupported_sets(obj)]
        if request.old is None:
            return formats + sets
        known = {f'unrecognized format "{name}"' for name in unknown_formats(request.old)}
        known |= {_UNSUPPORTED_SET.format(type) for type in unsupported_sets(request.old)}
        return [text for text in formats + sets if text not in known]

    def pending_finalizers(self, obj: Obj) -> bool:
        """Its objects go first, so it never goes at once."""
        return "deletionTimestamp" not in obj["metadata"]

    def prepare_for_delete(self, request: Request, obj: Obj) -> None:
        metadata = obj["metadata"] = dict(obj["metadata"])
        if request.old is not None:
            # Its deletion is no change of what is desired.
            metadata["generation"] = request.old["metadata"].get("generation", 1)
        metadata.pop("deletionGracePeriodSeconds", None)
        finalizers = metadata.get("finalizers") or []
        if FINALIZER in finalizers:
            return
        metadata["finalizers"] = [*finalizers, FINALIZER]
        status = obj.get("status") or {}
        now = rfc3339(self._clock.time())
        listed, _ = conditions.set(
            status.get("conditions"), "Terminating", "True", "InstanceDeletionPending", _PENDING, now
        )
        obj["status"] = {**status, "conditions": listed}


def _remember_storage(obj: Obj) -> None:
    """Objects may be stored in every version that was the storage version once."""
    status: Obj = obj.get("status") or {}
    stored = status.get("storedVersions") or []
    for version in obj["spec"].get("versions") or ():
        if version.get("storage"):
            if version.get("name") not in stored:
                obj["status"] = {**status, "storedVersions": [*stored, version.get("name")]}
            return
