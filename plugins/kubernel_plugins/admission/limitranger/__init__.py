"""LimitRanger: default requests and limits of containers, least and most of what may be asked for.

Source: k8s.io/kubernetes/plugin/pkg/admission/limitranger/admission.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.errors import Forbidden
from kubernel.objects import meta, quantity
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel_plugins.usage import pod_totals

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["Plugin"]

_ANNOTATION = "kubernetes.io/limit-ranger"
_CLAIM = "PersistentVolumeClaim"


class Plugin(Base):
    """The ``limitranger`` admission plugin."""

    async def start(self) -> None:
        client = self.handle.client("system:apiserver", ("system:masters",))
        self._ranges = client.informer("limitranges")

    def _items(self, namespace: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(type, item) of all LimitRanges in order of their names."""
        for found in sorted(self._ranges.list(namespace), key=meta.name):
            for item in (found.get("spec") or {}).get("limits") or ():
                yield item.get("type", ""), item

    @hookimpl
    def kubernel_admit(self, request: Request) -> None:
        if not _is_new_pod(request) or request.obj is None:
            return
        notes: list[str] = []
        for type, item in self._items(request.namespace):
            if type == "Container":
                notes += _fill(request.obj["spec"], item)
        if notes:
            annotations = dict(meta.annotations(request.obj))
            annotations[_ANNOTATION] = f"LimitRanger plugin set: {'; '.join(notes)}"
            request.obj["metadata"]["annotations"] = annotations

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        if request.obj is None or request.subresource or request.type.group:
            return
        problems: list[str] = []
        if _is_new_pod(request):
            for type, item in self._items(request.namespace):
                problems += _pod_problems(type, item, request.obj["spec"])
        elif request.type.plural == "persistentvolumeclaims" and request.operation in ("CREATE", "UPDATE"):
            asked = meta.get(request.obj, "spec", "resources", "requests", default={})
            for type, item in self._items(request.namespace):
                if type == _CLAIM:
                    problems += _claim_problems(item, asked)
        if problems:
            why = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            raise Forbidden.for_object(request.type.plural, request.type.group, request.name, why)


def _is_new_pod(request: Request) -> bool:
    type = request.type
    return (
        type.plural == "pods" and not type.group and not request.subresource and request.operation == "CREATE"
    )


def _fill(spec: dict[str, Any], item: Mapping[str, Any]) -> list[str]:
    """Fill in what containers leave out; what was set, in upstream's words."""
    notes: list[str] = []
    for field, what in (("containers", "container"), ("initContainers", "init container")):
        for container in spec.get(field) or ():
            for kind, noun, defaults in (
                ("requests", "request", item.get("defaultRequest") or {}),
                ("limits", "limit", item.get("default") or {}),
            ):
                resources = container.get("resources") or {}
                stated = resources.get(kind) or {}
                added = {name: value for name, value in defaults.items() if name not in stated}
                if added:
                    container["resources"] = {**resources, kind: {**stated, **added}}
                    notes.append(f"{', '.join(sorted(added))} {noun} for {what} {container['name']}")
    return notes


def _pod_problems(type: str, item: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    if type == "Pod":
        return _problems(type, item, pod_totals(spec, "requests"), pod_totals(spec, "limits"))
    found: list[str] = []
    if type == "Container":
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            resources = container.get("resources") or {}
            found += _problems(type, item, resources.get("requests") or {}, resources.get("limits") or {})
    return found


def _problems(
    type: str, item: Mapping[str, Any], requests: Mapping[str, str], limits: Mapping[str, str]
) -> list[str]:
    found: list[str] = []
    for name, least in (item.get("min") or {}).items():
        rule = f"minimum {name} usage per {type} is {least}"
        if name not in requests:
            found.append(f"{rule}.  No request is specified")
        elif _less(requests[name], least):
            found.append(f"{rule}, but request is {requests[name]}")
        elif name in limits and _less(limits[name], least):
            found.append(f"{rule}, but limit is {limits[name]}")
    for name, most in (item.get("max") or {}).items():
        rule = f"maximum {name} usage per {type} is {most}"
        if name not in limits:
            found.append(f"{rule}.  No limit is specified")
        elif _less(most, limits[name]):
            found.append(f"{rule}, but limit is {limits[name]}")
        elif name in requests and _less(most, requests[name]):
            found.append(f"{rule}, but request is {requests[name]}")
    for name, most in (item.get("maxLimitRequestRatio") or {}).items():
        rule = f"{name} max limit to request ratio per {type} is {most}"
        asked, limit = (quantity.to_int_milli(of.get(name, "0")) for of in (requests, limits))
        if not asked:
            found.append(f"{rule}, but no request is specified or request is 0")
        elif not limit:
            found.append(f"{rule}, but no limit is specified or limit is 0")
        elif limit / asked > float(quantity.parse(most)):
            found.append(f"{rule}, but provided ratio is {limit / asked:f}")
    return found


def _claim_problems(item: Mapping[str, Any], asked: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    for bound, limits in (("minimum", item.get("min") or {}), ("maximum", item.get("max") or {})):
        for name, limit in limits.items():
            rule = f"{bound} {name} usage per {_CLAIM} is {limit}"
            if name not in asked:
                found.append(f"{rule}.  No request is specified")
            elif _less(asked[name], limit) if bound == "minimum" else _less(limit, asked[name]):
                found.append(f"{rule}, but request is {asked[name]}")
    return found


def _less(first: str, second: str) -> bool:
    return quantity.parse(first) < quantity.parse(second)
