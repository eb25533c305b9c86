"""DefaultTolerationSeconds: pods stay five minutes on a node that is gone or not ready.

Source: k8s.io/kubernetes/plugin/pkg/admission/defaulttolerationseconds/admission.go (v1.37).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.request import Request

__all__ = ["Plugin", "Settings"]

_NOT_READY = "node.kubernetes.io/not-ready"
_UNREACHABLE = "node.kubernetes.io/unreachable"


@dataclass(frozen=True, slots=True)
class Settings:
    """Seconds that pods without a toleration of their own stay."""

    not_ready_seconds: int = 300
    unreachable_seconds: int = 300


class Plugin(Base):
    """The ``default_tolerations`` admission plugin."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._added = [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
            for key, seconds in (
                (_NOT_READY, settings.not_ready_seconds),
                (_UNREACHABLE, settings.unreachable_seconds),
            )
        ]

    @hookimpl
    def kubernel_admit(self, request: Request) -> None:
        type = request.type
        if type.plural != "pods" or type.group or request.subresource or request.obj is None:
            return
        if request.verb == "connect":
            return
        spec = request.obj["spec"]
        given: list[dict[str, Any]] = spec.get("tolerations") or []
        if given:
            added = [one for one in self._added if not any(_covers(other, one["key"]) for other in given)]
        else:
            added = self._added
        if added:
            spec["tolerations"] = [*given, *map(dict, added)]


def _covers(toleration: dict[str, Any], key: str) -> bool:
    return toleration.get("key", "") in (key, "") and toleration.get("effect", "") in ("NoExecute", "")
