"""What authentication and authorization plugins are asked and answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from kubernel.registry.request import UserInfo

__all__ = ["ALLOW", "Attributes", "Credentials", "Decision", "Standing", "demanded"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client showed. ``certificate`` is the verified DER peer certificate, ``token`` the bearer
    token without its scheme; ``headers`` have lower-case names."""

    certificate: bytes | None = None
    token: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def values(self, name: str) -> Sequence[str]:
        """All values of one header."""
        every: Callable[[str], Sequence[str]] | None = getattr(self.headers, "getall", None)
        if every is not None:
            return every(name)
        return [self.headers[name]] if name in self.headers else []


class Attributes(msgspec.Struct, frozen=True):
    """One action to authorize: a resource verb, or (``path`` set) a non-resource URL."""

    user: UserInfo
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    label_selector: str = ""
    field_selector: str = ""


class Standing:
    """How long an answer holds. Until ``over`` is set, the same user is answered the same for the same verb, group,
    resource, subresource and namespace, whatever the object's name."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over = False


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer. ``reason`` is shown to the user when it denies. A denial that is not ``final`` is no
    opinion with a reason: others are asked, and if nobody allows, the reasons are joined. Who knows when its
    answer ends says so by ``standing``; without one it is asked each time."""

    allowed: bool
    reason: str = ""
    final: bool = True
    standing: Standing | None = field(default=None, compare=False)


ALLOW = Decision(True)


def demanded(selector: str, field: str) -> str:
    """The value that a field selector demands of ``field``; empty when it demands none. A collection that is
    narrowed to one ``metadata.name`` is authorized as that object is
    (k8s.io/apiserver/pkg/endpoints/request/requestinfo.go)."""
    for term in selector.split(","):
        key, separator, value = term.partition("=")
        if separator and key.strip() == field:
            return value.removeprefix("=").strip()
    return ""
