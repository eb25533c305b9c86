"""PodNodeSelector: the pods of a namespace run on the nodes that are meant for it.

Source: k8s.io/kubernetes/plugin/pkg/admission/podnodeselector (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kubernel.errors import Forbidden, NotFound
from kubernel.objects import meta
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel_plugins.admission.matching import stored_namespace

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["Plugin", "Settings"]

_ANNOTATIONS = ("scheduler.alpha.kubernetes.io/node-selector",)


@dataclass(frozen=True, slots=True)
class Settings:
    """Selectors are written ``key=value,…``. ``default`` is for namespaces whose annotation does not say;
    ``allowed`` is what pods of a namespace may have, by its name."""

    default: str = ""
    allowed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for text in (self.default, *self.allowed.values()):
            _parse(text)


class Plugin(Base):
    """The ``pod_node_selector`` admission plugin."""

    Settings = Settings

    @hookimpl
    def kubernel_admit(self, request: Request) -> None:
        if request.type.plural != "pods" or request.type.group or request.subresource:
            return
        if request.operation != "CREATE" or request.obj is None:
            return
        spec = request.obj["spec"]
        wanted = self._wanted(request)
        own: dict[str, str] = spec.get("nodeSelector") or {}
        if any(own.get(key, value) != value for key, value in wanted.items()):
            raise _refused(
                request, "pod node label selector conflicts with its namespace node label selector"
            )
        merged = {**wanted, **own}
        told = self.settings.allowed.get(request.namespace)
        if told is not None:
            allowed = _parse(told)
            if any(allowed.get(key) != value for key, value in merged.items()):
                raise _refused(
                    request, "pod node label selector labels conflict with its namespace whitelist"
                )
        if merged:
            spec["nodeSelector"] = merged

    def _wanted(self, request: Request) -> Mapping[str, str]:
        namespace = stored_namespace(self.handle.registry, request.namespace)
        if namespace is None:
            raise NotFound.for_object("namespaces", "", request.namespace)
        for annotation in _ANNOTATIONS:
            if (text := meta.annotations(namespace).get(annotation)) is not None:
                try:
                    return _parse(text)
                except ValueError as error:
                    raise _refused(request, str(error)) from None
        return _parse(self.settings.default)


def _parse(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for term in text.split(","):
        if not term.strip():
            continue
        key, separator, value = term.partition("=")
        if not separator or not key.strip():
            raise ValueError(f'default: "{text}" is no node selector; write key=value,key=value')
        found[key.strip()] = value.strip()
    return found


def _refused(request: Request, why: str) -> Forbidden:
    return Forbidden.for_object("pods", "", request.name, why)
