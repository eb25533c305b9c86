"""AlwaysPullImages: nobody runs an image that another has pulled without the right to pull it.

Source: k8s.io/kubernetes/plugin/pkg/admission/alwayspullimages (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``always_pull_images`` admission plugin."""

    @hookimpl
    def kubernel_admit(self, request: Request) -> None:
        if request.type.plural != "pods" or request.type.group or request.obj is None:
            return
        if request.subresource not in ("", "ephemeralcontainers") or request.verb == "connect":
            return
        known = {_place(one): one.get("image") for one in _containers((request.old or {}).get("spec") or {})}
        for container in _containers(request.obj["spec"]):
            # An update that brings no new image changes nothing else either.
            if request.old is None or known.get(_place(container)) != container.get("image"):
                container["imagePullPolicy"] = "Always"
        if request.old is None:
            for volume in request.obj["spec"].get("volumes") or ():
                if volume.get("image") is not None:
                    volume["image"]["pullPolicy"] = "Always"


def _containers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or ()


def _place(container: dict[str, Any]) -> str:
    return str(container.get("name"))
