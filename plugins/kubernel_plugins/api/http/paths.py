"""Request paths: ``/api/v1/…`` and ``/apis/GROUP/VERSION/…`` to what they address."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

__all__ = ["Target", "parse"]


class Target(NamedTuple):
    """A resource path. ``resource`` is empty for ``/api/v1`` itself; ``rest`` is what follows the subresource
    (proxied paths), without a leading slash."""

    group: str
    version: str
    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    watching: bool = False
    """The deprecated ``/api/v1/watch/…`` form."""


_NOTHING = "\0"
"""A resource that is nowhere registered: paths with empty steps."""


def parse(path: str) -> Target | None:
    """The resource that ``path`` addresses; None when it is no resource path.

    ``/namespaces/NAME`` itself is in namespace NAME, as upstream's RequestInfo has it.
    """
    if "%" in path:
        path = unquote(path)
    parts = path.split("/")
    if parts[-1] == "":
        parts.pop()
    if len(parts) >= 3 and parts[1] == "api":
        group, version, rest = "", parts[2], parts[3:]
    elif len(parts) >= 4 and parts[1] == "apis":
        group, version, rest = parts[2], parts[3], parts[4:]
    else:
        return None
    if not version or (len(parts) > 3 and not all(parts[1:4])):
        return None
    if not rest:
        return Target(group, version)
    watching = rest[0] == "watch"
    if watching:
        rest = rest[1:]
        if not rest:
            return Target(group, version, "watch")
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if not namespace:
            return Target(group, version, _NOTHING)
        if len(rest) > 2 and not (rest[2] in ("status", "finalize") and group == "" and len(rest) == 3):
            rest = rest[2:]
    count = len(rest)
    if count > 1 and not rest[1]:
        return Target(group, version, _NOTHING)
    return Target(
        group,
        version,
        rest[0],
        namespace,
        rest[1] if count > 1 else "",
        rest[2] if count > 2 else "",
        "/".join(rest[3:]) if count > 3 else "",
        watching,
    )
