"""The scale of a custom resource, at the paths that its definition names.

Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/{etcd,validator}.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.errors import Cause, InternalError, Invalid
from kubernel.objects.go_json import go_type, printed
from kubernel.registry import causes
from kubernel.registry.types import Column, GroupVersionKind, Subresource

if TYPE_CHECKING:
    from kubernel.registry.schema import Node

__all__ = ["Scale"]

Obj = dict[str, Any]

_ABSENT: Any = object()
_KIND = GroupVersionKind("autoscaling", "v1", "Scale")
_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
_MOST = 2**31 - 1


class Scale:
    """``subresources.scale`` of a version of a definition."""

    def __init__(
        self, spec: Mapping[str, Any], columns: tuple[Column, ...], schema: Callable[[], Node] | None
    ) -> None:
        """``schema`` is that of the kind Scale."""
        self._schema = schema
        self.spec_path = spec.get("specReplicasPath", "")
        self.status_path = spec.get("statusReplicasPath", "")
        self.selector_path = spec.get("labelSelectorPath") or ""
        self._columns = columns

    def subresource(self) -> Subresource:
        return Subresource(
            "scale",
            _KIND,
            schema=self._schema,
            read=self.read,
            begin=self.begin,
            write=self.write,
            field=("spec.replicas", self.spec_path.removeprefix(".")),
            columns=self._columns,
        )

    def read(self, obj: Obj) -> Obj:
        replicas, problem = _integer(obj, self.spec_path)
        if problem:
            raise InternalError.because(problem)
        if replicas is None:
            raise InternalError.because(f"the spec replicas field {_quoted(self.spec_path)} does not exist")
        return self._view(obj, replicas)

    def begin(self, obj: Obj) -> Obj:
        """Where no count was set before, one may be written."""
        replicas, problem = _integer(obj, self.spec_path)
        if problem:
            raise InternalError.because(problem)
        return self._view(obj, replicas or 0)

    def _view(self, obj: Obj, replicas: int) -> Obj:
        status: Obj = {"replicas": _integer(obj, self.status_path)[0] or 0}
        selector = _at(obj, self.selector_path) if self.selector_path else None
        if isinstance(selector, str) and selector:
            status["selector"] = selector
        meta = obj["metadata"]
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {key: meta[key] for key in _METADATA if key in meta},
            # A Scale does not tell that nothing is wanted.
            "spec": {"replicas": replicas} if replicas else {},
            "status": status,
        }

    def write(self, obj: Obj, scale: Obj) -> Obj:
        replicas = (scale.get("spec") or {}).get("replicas") or 0
        if isinstance(replicas, bool) or not isinstance(replicas, int):
            cause = causes.invalid("spec.replicas", replicas, "must be an integer")
            raise Invalid.for_object("Scale", "autoscaling", obj["metadata"]["name"], [cause])
        return _with(obj, _parts(self.spec_path), replicas)

    def check(self, obj: Obj, *, status: bool) -> list[Cause]:
        """What the replicas and the selector of an object must be; of its ``status`` alone, or all."""
        found = [] if status else _count(obj, self.spec_path)
        found += _count(obj, self.status_path)
        if self.selector_path:
            selector = _at(obj, self.selector_path)
            if selector is not None and not isinstance(selector, str):
                detail = _accessor(self.selector_path, selector, "string")
                found.append(causes.invalid(self.selector_path, "", detail))
        return found


def _parts(path: str) -> list[str]:
    return path.removeprefix(".").split(".")


def _quoted(path: str) -> str:
    return f'"{path}"'


def _at(obj: Any, path: str) -> Any:
    for part in _parts(path):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(part)
    return obj


def _accessor(path: str, value: Any, wanted: str) -> str:
    return f"{path} accessor error: {printed(value)} is of the type {go_type(value)}, expected {wanted}"


def _integer(obj: Obj, path: str) -> tuple[int | None, str]:
    value = _at(obj, path)
    if value is None:
        return None, ""
    if isinstance(value, bool) or not isinstance(value, int):
        return None, _accessor(path, value, "int64")
    return value, ""


def _count(obj: Obj, path: str) -> list[Cause]:
    value, problem = _integer(obj, path)
    if problem:
        return [causes.invalid(path, 0, problem)]
    if value is None:
        return []
    if value < 0:
        return [causes.invalid(path, value, "should be a non-negative integer")]
    if value > _MOST:
        return [causes.invalid(path, value, f"should be less than or equal to {_MOST}")]
    return []


def _with(obj: Any, parts: list[str], value: Any) -> Obj:
    """``obj`` with the value at a path; only what lies on the way is copied."""
    changed: Obj = dict(obj) if isinstance(obj, dict) else {}
    first, *rest = parts
    changed[first] = _with(changed.get(first), rest, value) if rest else value
    return changed
