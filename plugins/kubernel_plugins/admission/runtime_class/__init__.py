"""RuntimeClass: a pod gets the overhead and the node constraints of its runtime class.

Source: k8s.io/kubernetes/plugin/pkg/admission/runtimeclass (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.errors import Forbidden, NotFound, UnnamedError
from kubernel.objects import quantity
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel_plugins.admission.tolerations import merge

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_OTHER = "Pod's Overhead doesn't match RuntimeClass's defined Overhead"


class Plugin(Base):
    """The ``runtime_class`` admission plugin."""

    @hookimpl
    def kubernel_admit(self, request: Request) -> None:
        spec = _new_pod(request)
        found = None if spec is None else self._class_of(request, spec)
        if spec is None or found is None:
            return
        if (overhead := _overhead(found)) is not None:
            if spec.get("overhead") and not _same(spec["overhead"], overhead):
                raise _refused(request, _OTHER)
            spec["overhead"] = dict(overhead)
        if found.get("scheduling"):
            self._schedule(request, spec, found["scheduling"])

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        """Webhooks and policies may have changed the overhead since."""
        spec = _new_pod(request)
        if spec is None:
            return
        overhead = _overhead(self._class_of(request, spec) or {})
        if overhead is not None and not _same(spec.get("overhead") or {}, overhead):
            raise _refused(request, _OTHER)
        if overhead is None and spec.get("overhead") is not None:
            raise _refused(request, "Pod Overhead set without corresponding RuntimeClass defined Overhead")

    def _class_of(self, request: Request, spec: dict[str, Any]) -> Obj | None:
        name = spec.get("runtimeClassName")
        if name is None:
            return None
        if not name:
            raise UnnamedError("resource name may not be empty")
        type = self.handle.registry.lookup("node.k8s.io", "v1", "runtimeclasses")
        try:
            if type is not None:
                return self.handle.registry.get(type, "", name).obj
        except NotFound:
            pass
        raise _refused(request, f'RuntimeClass "{name}" not found')

    @staticmethod
    def _schedule(request: Request, spec: dict[str, Any], scheduling: dict[str, Any]) -> None:
        selector = spec.get("nodeSelector") or {}
        wanted: dict[str, str] = scheduling.get("nodeSelector") or {}
        for key, value in wanted.items():
            if selector.get(key, value) != value:
                raise Forbidden.for_object(
                    "pods",
                    "",
                    request.name,
                    f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = "
                    f"{selector[key]}",
                )
        if wanted:
            spec["nodeSelector"] = {**selector, **wanted}
        tolerations = [*(spec.get("tolerations") or ()), *map(dict, scheduling.get("tolerations") or ())]
        if tolerations:
            spec["tolerations"] = merge(tolerations)


def _new_pod(request: Request) -> dict[str, Any] | None:
    """The spec of a pod that is being created."""
    if request.type.plural != "pods" or request.type.group or request.subresource:
        return None
    if request.operation != "CREATE" or request.obj is None:
        return None
    spec: dict[str, Any] = request.obj["spec"]
    return spec


def _overhead(runtime_class: Obj) -> dict[str, Any] | None:
    """None when the class defines none; one without resources is an overhead too."""
    overhead = runtime_class.get("overhead")
    return None if overhead is None else overhead.get("podFixed") or {}


def _refused(request: Request, why: str) -> Forbidden:
    return Forbidden.for_object("pods", "", request.name, f"pod rejected: {why}")


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        quantity.parse(one[key]) == quantity.parse(other[key]) for key in one
    )
