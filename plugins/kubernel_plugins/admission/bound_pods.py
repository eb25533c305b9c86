"""A change of a pod that is on a node, as the admission plugins see it that ask the node about it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from kubernel.errors import Cause, Forbidden, NotFound

if TYPE_CHECKING:
    from kubernel.registry.registry import Registry
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["changed_spec", "node_of", "refused"]


def changed_spec(request: Request, subresources: Collection[str]) -> tuple[Obj, Obj] | None:
    """The new pod and the old one, where an update by one of ``subresources`` changes the spec of a pod on a node."""
    obj, old = request.obj, request.old
    if request.type.plural != "pods" or request.type.group or request.subresource not in subresources:
        return None
    if request.operation != "UPDATE" or obj is None or old is None:
        return None
    if not obj["spec"].get("nodeName") or obj["spec"] == old["spec"]:
        return None
    return obj, old


def node_of(registry: Registry, request: Request, pod: Obj) -> Obj:
    """The node that the pod is on; Forbidden when there is none of that name."""
    name, type = pod["spec"]["nodeName"], registry.lookup("", "v1", "nodes")
    try:
        return registry.get(type, "", name).obj if type is not None else {}
    except NotFound:
        raise refused(request, f'node "{name}" not found') from None


def refused(request: Request, why: str, cause: str = "") -> Forbidden:
    causes = (Cause(cause, ""),) if cause else ()
    return Forbidden.for_object("pods", "", request.name, why, causes)
