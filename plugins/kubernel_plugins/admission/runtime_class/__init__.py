"""RuntimeClass: a pod gets the overhead and the node constraints of its runtime class.

Source: k8s.io/kubernetes/plugin/pkg/admission/runtimeclass (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.errors import Forbidden, NotFound
from kubernel.objects import quantity
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``runtime_class`` admission plugin."""

    @hookimpl
    def kubernel_admit(self, request: Request) -> None:
        if request.type.plural != "pods" or request.type.group or request.subresource:
            return
        if request.operation != "CREATE" or request.obj is None:
            return
        spec = request.obj["spec"]
        name = spec.get("runtimeClassName")
        if not name:
            if spec.get("overhead"):
                raise _refused(
                    request, "Pod Overhead set without corresponding RuntimeClass defined Overhead"
                )
            return
        found = self._get(request, name)
        overhead = (found.get("overhead") or {}).get("podFixed")
        if spec.get("overhead") and not _same(spec["overhead"], overhead or {}):
            raise _refused(request, "Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        if overhead:
            spec["overhead"] = dict(overhead)
        self._schedule(request, spec, found.get("scheduling") or {})

    def _get(self, request: Request, name: str) -> Obj:
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
        more = [
            one for one in scheduling.get("tolerations") or () if one not in (spec.get("tolerations") or ())
        ]
        if more:
            spec["tolerations"] = [*(spec.get("tolerations") or ()), *(dict(one) for one in more)]


def _refused(request: Request, why: str) -> Forbidden:
    return Forbidden.for_object("pods", "", request.name, f"pod rejected: {why}")


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        quantity.parse(one[key]) == quantity.parse(other[key]) for key in one
    )
