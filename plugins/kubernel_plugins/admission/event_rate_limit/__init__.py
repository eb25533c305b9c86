"""EventRateLimit: how many events may be written, by whom and about what.

Source: k8s.io/kubernetes/plugin/pkg/admission/eventratelimit (v1.37).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kubernel.errors import TooManyRequests
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.request import Request

__all__ = ["Limit", "Plugin", "Settings"]


@dataclass(frozen=True, slots=True)
class Limit:
    """``qps`` events a second after a ``burst``, for each key of the ``type``; ``cache_size`` keys are kept."""

    type: Literal["Server", "Namespace", "User", "SourceAndObject"]
    qps: int
    burst: int
    cache_size: int = 4096

    def __post_init__(self) -> None:
        for key in ("qps", "burst", "cache_size"):
            if getattr(self, key) < 1:
                raise ValueError(f"{'cacheSize' if key == 'cache_size' else key}: must be positive")


@dataclass(frozen=True, slots=True)
class Settings:
    """All ``limits`` must have room."""

    limits: tuple[Limit, ...] = ()


class _Buckets:
    """A token bucket for each key; the one that was not used for the longest time is forgotten first."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        limit = self.limit
        tokens, at = self._buckets.pop(key, (float(limit.burst), now))
        tokens = min(float(limit.burst), tokens + (now - at) * limit.qps)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > limit.cache_size:
            self._buckets.popitem(last=False)
        return allowed


class Plugin(Base):
    """The ``event_rate_limit`` admission plugin."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._all = [_Buckets(limit) for limit in settings.limits]

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        if request.type.plural != "events" or request.type.group or request.obj is None:
            return
        now = self.handle.clock.monotonic()
        for buckets in self._all:
            key = _key(buckets.limit.type, request)
            if not buckets.take(key, now):
                raise TooManyRequests(
                    f"limit reached on type {buckets.limit.type} for key {key}", retry_after=1
                )


def _key(type: str, request: Request) -> str:
    if type == "Namespace":
        return request.namespace
    if type == "User":
        return request.user.name
    if type == "SourceAndObject":
        event = request.obj or {}
        source, about = event.get("source") or {}, event.get("involvedObject") or {}
        parts = [source.get("component"), source.get("host")]
        parts += [about.get(key) for key in ("kind", "namespace", "name", "uid", "apiVersion")]
        return "_".join(str(part or "") for part in parts)
    return ""
