"""Admission of volumes, claims and the classes of their attributes: protection, the default class, expansion.

Source: k8s.io/kubernetes/plugin/pkg/admission/storage (StorageObjectInUseProtection, DefaultStorageClass,
PersistentVolumeClaimResize; v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.errors import Forbidden
from kubernel.objects import meta
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel_plugins import volumes as v

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_PROTECTION = {
    (v.CLAIMS, ""): "kubernetes.io/pvc-protection",
    (v.VOLUMES, ""): "kubernetes.io/pv-protection",
    ("volumeattributesclasses", "storage.k8s.io"): "kubernetes.io/vac-protection",
}


class Plugin(Base):
    """The ``storage`` admission plugin."""

    async def start(self) -> None:
        client = self.handle.client("system:apiserver", ("system:masters",))
        self._classes = client.informer(v.CLASSES)

    @hookimpl
    def kubernel_admit(self, request: Request) -> None:
        finalizer = _PROTECTION.get((request.type.plural, request.type.group))
        obj = request.obj
        if finalizer is None or request.subresource or obj is None or request.operation != "CREATE":
            return
        # DefaultStorageClass comes first, as upstream's order has it.
        if request.type.plural == v.CLAIMS:
            self._default_class(obj)
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if finalizer not in finalizers:
            finalizers.append(finalizer)

    def _default_class(self, claim: Obj) -> None:
        spec = claim.get("spec") or {}
        if spec.get("storageClassName") is not None or v.CLASS_ANNOTATION in meta.annotations(claim):
            return
        chosen = v.default_class(self._classes.list())
        if chosen is not None:
            spec["storageClassName"] = meta.name(chosen)

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        """Only what was made by a class that allows it may grow."""
        obj, old = request.obj, request.old
        if request.type.plural != v.CLAIMS or request.type.group or request.subresource:
            return
        if request.operation != "UPDATE" or obj is None or old is None:
            return
        if v.requested(obj) <= v.requested(old):
            return
        why = ""
        if (old.get("status") or {}).get("phase") != "Bound":
            why = "Only bound persistent volume claims can be expanded"
        else:
            found = self._classes.get(v.class_of(obj)) if v.class_of(obj) == v.class_of(old) else None
            if found is None or not found.get("allowVolumeExpansion"):
                why = (
                    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
                    "support resize"
                )
        if why:
            raise Forbidden.for_object(v.CLAIMS, "", request.name, why)
