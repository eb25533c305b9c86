"""Where the numbers come from: the resource, custom and external metrics APIs.

Source: k8s.io/kubernetes/pkg/controller/podautoscaler/metrics/client.go, k8s.io/metrics/pkg/client (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import orjson

from kubernel.errors import ApiError, NotFound
from kubernel.objects import quantity, times
from kubernel.objects.selectors import from_object
from kubernel_plugins.controller.horizontalpodautoscaler.calculation import MetricError, PodMetric

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.plugin.manager import Hooks
    from kubernel.registry.request import UserInfo
    from kubernel.store.records import Obj

__all__ = ["Metrics"]

_PODS = "pods.v1beta1.metrics.k8s.io"
_CUSTOM = "custom.metrics.k8s.io"
_EXTERNAL = "external.metrics.k8s.io"


class _NoServer(Exception):
    pass


class Metrics:
    """Values are thousandths; raises MetricError. What this server does not serve is asked of the API server that
    is registered for it."""

    def __init__(self, client: Client, hooks: Hooks, user: UserInfo) -> None:
        self._client = client
        self._hooks = hooks
        self._user = user

    async def of_resource(
        self, resource: str, namespace: str, selector: str, container: str = ""
    ) -> dict[str, PodMetric]:
        """By the pod's name."""
        try:
            items = await self._pod_metrics(namespace, selector)
        except (ApiError, OSError, _NoServer) as error:
            told = str(error) or "the server could not find the requested resource (get pods.metrics.k8s.io)"
            raise MetricError(f"unable to fetch metrics from resource metrics API: {told}") from error
        if not items:
            raise MetricError("no metrics returned from resource metrics API")
        found: dict[str, PodMetric] = {}
        for item in items:
            name, entries = item["metadata"]["name"], item["containers"]
            if container:
                entries = [entry for entry in entries if entry["name"] == container]
                if not entries:
                    raise MetricError(
                        f"container {container} not present in metrics for pod {namespace}/{name}"
                    )
            used = [entry["usage"].get(resource) for entry in entries]
            if None in used:
                continue
            total = sum(quantity.to_int_milli(amount) for amount in used)
            found[name] = PodMetric(
                total, times.parse(item["timestamp"]), times.duration(item.get("window", "0"))
            )
        return found

    async def _pod_metrics(self, namespace: str, selector: str) -> list[Obj]:
        try:
            return (await self._client.list(_PODS, namespace, labels=selector)).items
        except NotFound:
            path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"
            return await self._items(path, {"labelSelector": selector})

    async def of_pods(self, metric: Mapping[str, Any], namespace: str, selector: str) -> dict[str, PodMetric]:
        path = f"namespaces/{namespace}/pods/*/{quote(metric['name'], safe='')}"
        items = await self._custom(path, {"labelSelector": selector, **_metric_selector(metric)})
        return {
            item["describedObject"]["name"]: PodMetric(
                quantity.to_int_milli(item["value"]),
                times.parse(item["timestamp"]),
                float(item.get("windowSeconds") or item.get("window") or 60),
            )
            for item in items
        }

    async def of_object(
        self, metric: Mapping[str, Any], namespace: str, about: Mapping[str, Any], resource: str
    ) -> int:
        """``resource`` is the described object's (``ingresses.networking.k8s.io``)."""
        name = quote(metric["name"], safe="")
        if about["kind"] == "Namespace":
            path = f"namespaces/{about['name']}/metrics/{name}"
        else:
            path = f"namespaces/{namespace}/{resource}/{about['name']}/{name}"
        items = await self._custom(path, _metric_selector(metric))
        return quantity.to_int_milli(items[0]["value"])

    async def external(self, metric: Mapping[str, Any], namespace: str) -> int:
        """The sum of all series."""
        name = metric["name"]
        path = f"/apis/{_EXTERNAL}/v1beta1/namespaces/{namespace}/{quote(name, safe='')}"
        selector = from_object(metric.get("selector") or {}).to_string()
        told = f"the server could not find the requested resource (get {name}.{_EXTERNAL})"
        try:
            items = await self._items(path, {"labelSelector": selector} if selector else {})
        except (ApiError, OSError, _NoServer) as error:
            told = str(error) or told
            raise MetricError(f"unable to fetch metrics from external metrics API: {told}") from error
        if not items:
            raise MetricError("no metrics returned from external metrics API")
        return sum(quantity.to_int_milli(item["value"]) for item in items)

    async def _custom(self, path: str, query: Mapping[str, str]) -> list[Obj]:
        told = f"no custom metrics API ({_CUSTOM}) registered"
        for version in ("v1beta2", "v1beta1"):
            try:
                items = await self._items(f"/apis/{_CUSTOM}/{version}/{path}", query)
            except _NoServer:
                continue
            except (ApiError, OSError) as error:
                told = str(error)
                break
            if not items:
                raise MetricError("no metrics returned from custom metrics API")
            return items
        raise MetricError(f"unable to fetch metrics from custom metrics API: {told}")

    async def _items(self, path: str, query: Mapping[str, str]) -> list[Obj]:
        asked = self._hooks.remote_api(f"{path}?{urlencode(query)}" if query else path, self._user)
        if asked is None:
            raise _NoServer
        status, body = await asked
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = {}
        if not 200 <= status < 300:
            raise OSError(answer.get("message") or f"the server answered with status {status}")
        items: list[Obj] = answer.get("items") or []
        return items


def _metric_selector(metric: Mapping[str, Any]) -> dict[str, str]:
    text = from_object(metric.get("selector") or {}).to_string()
    return {"metricLabelSelector": text} if text else {}
