"""The resource metrics API (``metrics.k8s.io``): what nodes and pods consume.

Source: k8s.io/metrics/pkg/apis/metrics/v1beta1 and sigs.k8s.io/metrics-server/pkg/{api,storage}.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.objects import meta, quantity
from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl
from kubernel_plugins.api.metrics.samples import Rate, Samples
from kubernel_plugins.api.metrics.types import GROUP, VERSION, metrics_types

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.registry.registry import Registry
    from kubernel.store.records import Obj

__all__ = ["Plugin", "Settings"]

_USER = "system:serviceaccount:kube-system:metrics-server"
_NANO = 10**9


@dataclass(frozen=True, slots=True)
class Settings:
    """``resolution``: seconds between samples."""

    resolution: float = 15.0

    def __post_init__(self) -> None:
        if self.resolution < 1.0:
            raise ValueError("resolution must be at least 1 second")


class Plugin(BasePlugin):
    """Samples what node plugins tell and answers from the last two samples."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._samples = Samples()
        self._pods: Informer | None = None
        self._nodes: Informer | None = None

    @hookimpl
    def kubernel_register_types(self, registry: Registry) -> None:
        for type in metrics_types(self._node_metrics, self._pod_metrics):
            registry.register(type)

    async def start(self) -> None:
        client = self.handle.client(_USER, ("system:serviceaccounts", "system:serviceaccounts:kube-system"))
        self._pods, self._nodes = client.informer("pods"), client.informer("nodes")
        self.handle.spawn(self._sample(), "samples")

    async def stop(self) -> None:
        self._pods = self._nodes = None

    async def _sample(self) -> None:
        clock = self.handle.clock
        while True:
            self._samples.take(clock.time(), self.handle.hooks.node_usage())
            await clock.sleep(self.settings.resolution)

    # --- what is read

    def _node_metrics(self, namespace: str, name: str) -> Iterator[Obj]:
        for node, rate in self._samples.nodes.items():
            if name and node != name:
                continue
            found = self._nodes.get(node) if self._nodes is not None else None
            if found is not None:
                yield {**self._frame("NodeMetrics", found, rate), "usage": _usage(rate)}

    def _pod_metrics(self, namespace: str, name: str) -> Iterator[Obj]:
        pods = self._pods
        if pods is None:
            return
        if name:
            one = pods.get(name, namespace)
            chosen = [] if one is None else [one]
        else:
            chosen = pods.list(namespace)
        for pod in chosen:
            rates = self._samples.pods.get(meta.uid(pod))
            if not rates or (pod.get("status") or {}).get("phase") != "Running":
                continue
            # One whose container has just started has no rate yet: half of its containers would be wrong.
            if len(rates) < len(pod["spec"]["containers"]):
                continue
            widest = max(rates.values(), key=lambda rate: rate.window)
            containers = [{"name": key, "usage": _usage(rate)} for key, rate in sorted(rates.items())]
            yield {**self._frame("PodMetrics", pod, widest), "containers": containers}

    def _frame(self, kind: str, about: Obj, rate: Rate) -> dict[str, Any]:
        metadata: dict[str, Any] = {"name": meta.name(about)}
        if namespace := meta.namespace(about):
            metadata["namespace"] = namespace
        metadata["creationTimestamp"] = rfc3339(self.handle.clock.time())
        if labels := meta.labels(about):
            metadata["labels"] = dict(labels)
        return {
            "kind": kind,
            "apiVersion": f"{GROUP}/{VERSION}",
            "metadata": metadata,
            "timestamp": rfc3339(rate.taken),
            "window": _duration(rate.window),
        }


def _usage(rate: Rate) -> dict[str, str]:
    nanos = Decimal(round(rate.cores * _NANO)).scaleb(-9)
    return {"cpu": quantity.format_decimal(nanos), "memory": quantity.format_binary(rate.memory)}


def _duration(seconds: float) -> str:
    """As Go prints a metav1.Duration: milliseconds are enough here."""
    minutes, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
