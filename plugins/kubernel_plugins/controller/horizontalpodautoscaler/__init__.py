"""HorizontalPodAutoscaler controller: as many replicas as the metrics ask for.

Source: k8s.io/kubernetes/pkg/controller/podautoscaler (v1.37). ``metrics`` fetches, ``calculation`` turns values
into replicas, ``behaviour`` says how fast a recommendation is followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.client.naming import groups_of
from kubernel.client.reconciler import Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import ApiError
from kubernel.objects import conditions, meta, quantity
from kubernel.objects.selectors import go_text, parse_labels
from kubernel.registry.request import UserInfo
from kubernel_plugins.controller.horizontalpodautoscaler import behaviour
from kubernel_plugins.controller.horizontalpodautoscaler.calculation import (
    Calculator,
    MetricError,
    Tolerances,
)
from kubernel_plugins.controller.horizontalpodautoscaler.metrics import Metrics
from kubernel_plugins.controller.scales import NoSuchKind, Scales

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.objects.selectors import Selector
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Seconds, and the part by which a metric may miss its target without consequence."""

    sync_period: float = 15.0
    downscale_stabilization: float = 300.0
    tolerance: float = 0.1
    cpu_initialization_period: float = 300.0
    initial_readiness_delay: float = 30.0

    def __post_init__(self) -> None:
        if self.sync_period <= 0:
            raise ValueError("syncPeriod must be greater than 0")
        if self.tolerance < 0:
            raise ValueError("tolerance must not be negative")


_SCALED_TO_ZERO = "ScaledToZero"


class _Failed(Exception):
    """Nothing can be scaled: the condition says why."""


class _Metric:
    """What one metric comes to."""

    def __init__(self, replicas: int, name: str, status: dict[str, Any]) -> None:
        self.replicas = replicas
        self.name = name
        self.status = status


class _Pass:
    """One look at an autoscaler."""

    def __init__(self, hpa: Obj, now: float) -> None:
        self.hpa = hpa
        self.spec: dict[str, Any] = hpa["spec"]
        self.now = now
        self.conditions: list[dict[str, Any]] = list((hpa.get("status") or {}).get("conditions") or ())
        self.metrics: list[dict[str, Any]] = []
        self.error: str = ""

    @property
    def sees_outside(self) -> bool:
        """Whether a metric does not come from the pods, and has a value without them."""
        return any(metric["type"] in ("Object", "External") for metric in self.spec.get("metrics") or ())

    def condition(self, type: str, status: str, reason: str, message: str) -> None:
        self.conditions, _ = conditions.set(self.conditions, type, status, reason, message, rfc3339(self.now))


class Plugin(Reconciler):
    """The ``horizontalpodautoscaler`` controller."""

    Settings = Settings
    resource = "horizontalpodautoscalers.v2.autoscaling"
    reads = ("pods",)
    user = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._history: dict[ObjectKey, behaviour.History] = {}
        self._selectors: dict[ObjectKey, Selector] = {}

    async def start(self) -> None:
        await super().start()
        self._pods = self.informer("pods")
        self._scales = Scales(self.client)
        user = UserInfo(self.user, groups_of(self.user))
        self._metrics = Metrics(self.client, self.handle.hooks, user)

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if type == "DELETED":
            self._history.pop(meta.key(obj), None)
            self._selectors.pop(meta.key(obj), None)
        elif old is None or old.get("spec") != obj.get("spec"):
            self.queue.add(meta.key(obj))

    async def reconcile(self, namespace: str, name: str) -> float | None:
        hpa = self.primary.get(name, namespace)
        if hpa is None:
            return None
        now = _Pass(hpa, self.clock.time())
        try:
            await self._scale(now)
        except _Failed as failure:
            self.log.debug("{}/{}: {}", namespace, name, failure)
        return float(self.settings.sync_period)

    # --- the target

    async def _scale(self, now: _Pass) -> None:
        hpa, spec, target = now.hpa, now.spec, now.spec["scaleTargetRef"]
        try:
            resource = await self._scales.resource(target.get("apiVersion", ""), target["kind"])
            scale = await self._scales.get(resource, target["name"], meta.namespace(hpa))
        except (ApiError, NoSuchKind) as error:
            text = _words(error)
            await self.recorder.event(hpa, "Warning", "FailedGetScale", text)
            message = f"the HPA controller was unable to get the target's current scale: {text}"
            now.condition("AbleToScale", "False", "FailedGetScale", message)
            await self._put(now, dict(hpa.get("status") or {}))
            raise _Failed(text) from error
        message = "the HPA controller was able to get the target's current scale"
        now.condition("AbleToScale", "True", "SucceededGetScale", message)
        current: int = scale["spec"].get("replicas", 0)
        history = self._history.setdefault(meta.key(hpa), behaviour.History([(current, now.now)]))
        desired, reason = await self._desired(now, scale, current, history)
        rescale = desired != current
        if rescale:
            await self._rescale(now, resource, scale, current, desired, reason)
            history.scaled(spec.get("behavior"), current, desired, now.now)
        status = self._status(now, current)
        status["desiredReplicas"] = desired if rescale else current
        if rescale:
            status["lastScaleTime"] = rfc3339(now.now)
        await self._put(now, status)
        if now.error:
            raise _Failed(now.error)

    async def _desired(
        self, now: _Pass, scale: Obj, current: int, history: behaviour.History
    ) -> tuple[int, str]:
        """(replicas, why they change)."""
        spec = now.spec
        low, high = spec.get("minReplicas", 1), spec["maxReplicas"]
        scaled_to_zero = conditions.is_true(now.hpa, _SCALED_TO_ZERO)
        if current == 0:
            # Somebody else's nought is left alone.
            if not (scaled_to_zero and (low != 0 or now.sees_outside)):
                message = "scaling is disabled since the replica count of the target is zero"
                now.condition("ScalingActive", "False", "ScalingDisabled", message)
                return 0, ""
        elif current > high:
            return high, "Current number of replicas above Spec.MaxReplicas"
        elif current < low:
            return low, "Current number of replicas below Spec.MinReplicas"
        try:
            wanted, metric = await self._from_metrics(now, scale)
        except _Failed as failure:
            await self._put(now, self._status(now, current))
            await self.recorder.event(now.hpa, "Warning", "FailedComputeMetricsReplicas", str(failure))
            raise
        reason = ""
        if wanted > current:
            reason = f"{metric} above target"
        elif wanted < current:
            reason = "All metrics below target"
        decision = behaviour.normalize(
            spec, history, current, wanted, now.now, self.settings.downscale_stabilization
        )
        now.condition("AbleToScale", *decision.able)
        now.condition("ScalingLimited", *decision.limited)
        if current == 0 and decision.replicas < low:
            return low, reason or "Current number of replicas below Spec.MinReplicas"
        return decision.replicas, reason

    async def _rescale(
        self, now: _Pass, resource: str, scale: Obj, current: int, desired: int, reason: str
    ) -> None:
        wanted = {**scale, "spec": {**scale["spec"], "replicas": desired}}
        try:
            await self.client.update(resource, wanted, subresource="scale")
        except ApiError as error:
            text = f"New size: {desired}; reason: {reason}; error: {error.message}"
            await self.recorder.event(now.hpa, "Warning", "FailedRescale", text)
            message = f"the HPA controller was unable to update the target scale: {error.message}"
            now.condition("AbleToScale", "False", "FailedUpdateScale", message)
            await self._put(now, self._status(now, current))
            raise _Failed(error.message) from error
        message = f"the HPA controller was able to update the target scale to {desired}"
        now.condition("AbleToScale", "True", "SucceededRescale", message)
        text = f"New size: {desired}; reason: {reason}"
        await self.recorder.event(now.hpa, "Normal", "SuccessfulRescale", text)
        if current > 0 and desired == 0 and now.spec.get("minReplicas", 1) == 0 and now.sees_outside:
            message = "the HPA controller scaled the workload to zero"
            now.condition(_SCALED_TO_ZERO, "True", "ScaledToZero", message)
        else:
            message = "the HPA controller did not scale the workload to zero"
            now.condition(_SCALED_TO_ZERO, "False", "NotScaledToZero", message)

    # --- metrics

    async def _from_metrics(self, now: _Pass, scale: Obj) -> tuple[int, str]:
        """(the most that a metric asks for, its name)."""
        selector = await self._selector(now, scale)
        pods = [pod for pod in self._pods.list(meta.namespace(now.hpa)) if selector.matches(meta.labels(pod))]
        calculator = Calculator(
            pods,
            self._tolerances(now.spec.get("behavior") or {}),
            now.now,
            self.settings.cpu_initialization_period,
            self.settings.initial_readiness_delay,
        )
        best: _Metric | None = None
        failures: list[tuple[str, str, str]] = []
        for spec in now.spec.get("metrics") or ():
            try:
                found = await self._metric(now, spec, scale, calculator)
            except MetricError as error:
                kind = spec["type"]
                reason, text = f"FailedGet{kind}Metric", error.told
                await self.recorder.event(now.hpa, "Warning", reason, text)
                failures.append((reason, text, f"failed to get {_what(spec)} value: {error}"))
                now.metrics.append({"type": ""})
                continue
            now.metrics.append(found.status)
            if best is None or found.replicas > best.replicas:
                best = found
        if failures:
            count = len(now.metrics)
            first = failures[0]
            now.error = (
                f"invalid metrics ({len(failures)} invalid out of {count}), first error is: {first[2]}"
            )
            current: int = scale["spec"].get("replicas", 0)
            if best is None or best.replicas < current:
                message = f"the HPA was unable to compute the replica count: {first[1]}"
                now.condition("ScalingActive", "False", first[0], message)
                raise _Failed(now.error)
        if best is None:
            raise _Failed("there is no metric")
        message = f"the HPA was able to successfully calculate a replica count from {best.name}"
        now.condition("ScalingActive", "True", "ValidMetricFound", message)
        return best.replicas, best.name

    async def _selector(self, now: _Pass, scale: Obj) -> Selector:
        hpa, text = now.hpa, (scale.get("status") or {}).get("selector", "")
        if not text:
            await self.recorder.event(hpa, "Warning", "SelectorRequired", "selector is required")
            message = "the HPA target's scale is missing a selector"
            now.condition("ScalingActive", "False", "InvalidSelector", message)
            raise _Failed("selector is required")
        try:
            selector = parse_labels(text)
        except ValueError as error:
            message = f"couldn't convert selector into a corresponding internal selector object: {error}"
            await self.recorder.event(hpa, "Warning", "InvalidSelector", message)
            now.condition("ScalingActive", "False", "InvalidSelector", message)
            raise _Failed(message) from error
        self._selectors[meta.key(hpa)] = selector
        rivals = self._rivals(meta.namespace(hpa), selector)
        if len(rivals) > 1:
            message = f"pods by selector {text} are controlled by multiple HPAs: [{' '.join(rivals)}]"
            await self.recorder.event(hpa, "Warning", "AmbiguousSelector", message)
            now.condition("ScalingActive", "False", "AmbiguousSelector", message)
            raise _Failed(message)
        return selector

    def _rivals(self, namespace: str, selector: Selector) -> list[str]:
        """The autoscalers of the namespace that select any of these pods."""
        others = {key: one for key, one in self._selectors.items() if key[0] == namespace}
        if len(others) < 2:
            return []
        labels = [
            meta.labels(pod) for pod in self._pods.list(namespace) if selector.matches(meta.labels(pod))
        ]
        return sorted(
            "/".join(key) for key, one in others.items() if any(one.matches(each) for each in labels)
        )

    def _tolerances(self, behavior: Mapping[str, Any]) -> Tolerances:
        def of(rules: str) -> float:
            given = (behavior.get(rules) or {}).get("tolerance")
            return float(self.settings.tolerance if given is None else quantity.parse(given))

        return Tolerances(of("scaleDown"), of("scaleUp"))

    async def _metric(
        self, now: _Pass, spec: Mapping[str, Any], scale: Obj, calculator: Calculator
    ) -> _Metric:
        wanted: int = scale["spec"].get("replicas", 0)
        told: int = (scale.get("status") or {}).get("replicas", 0)
        namespace, selector = meta.namespace(now.hpa), scale["status"]["selector"]
        match spec["type"]:
            case "Resource":
                return await self._of_resource(spec, "resource", namespace, selector, wanted, calculator)
            case "ContainerResource":
                return await self._of_resource(
                    spec, "containerResource", namespace, selector, wanted, calculator
                )
            case "Pods":
                source = spec["pods"]
                name = source["metric"]["name"]
                try:
                    found = await self._metrics.of_pods(source["metric"], namespace, selector)
                except MetricError as error:
                    raise MetricError(f"unable to get metric {name}: {error}") from error
                target = quantity.to_int_milli(source["target"]["averageValue"])
                replicas, average = calculator.by_average(found, wanted, target)
                current = {"averageValue": quantity.format_milli(average)}
                status = {"type": "Pods", "pods": {"metric": source["metric"], "current": current}}
                return _Metric(replicas, f"pods metric {name}", status)
            case "Object":
                return await self._of_object(spec["object"], namespace, wanted, told, calculator)
            case "External":
                return await self._of_external(spec["external"], namespace, wanted, told, calculator)
        raise MetricError(f'unknown metric source type "{spec["type"]}"')

    async def _of_resource(
        self,
        spec: Mapping[str, Any],
        key: str,
        namespace: str,
        selector: str,
        current: int,
        calculator: Calculator,
    ) -> _Metric:
        source = spec[key]
        name, container, target = source["name"], source.get("container", ""), source["target"]
        status: dict[str, Any] = {"name": name, **({"container": container} if container else {})}
        average_value, percent = target.get("averageValue"), target.get("averageUtilization")
        if average_value is None and percent is None:
            raise MetricError(
                "invalid resource metric source: neither an average utilization target nor an average value (usage) "
                "target was set"
            )
        kind = "utilization" if average_value is None else "usage"
        try:
            try:
                found = await self._metrics.of_resource(name, namespace, selector, container)
            except MetricError as error:
                raise MetricError(f"unable to get metrics for resource {name}: {error}") from error
            if average_value is not None:
                wanted = quantity.to_int_milli(average_value)
                replicas, average = calculator.by_average(found, current, wanted, name)
                label = f"{name} resource"
            else:
                replicas, used, average = calculator.by_utilization(found, current, percent, name, container)
                status["current"] = {"averageUtilization": used}
                of = "container resource" if container else "resource"
                label = f"{name} {of} utilization (percentage of request)"
        except MetricError as error:
            raise MetricError(f"failed to get {name} {kind}: {error}") from error
        status["current"] = {**status.get("current", {}), "averageValue": quantity.format_milli(average)}
        return _Metric(replicas, label, {"type": spec["type"], key: status})

    async def _of_object(
        self, source: Mapping[str, Any], namespace: str, wanted: int, told: int, calculator: Calculator
    ) -> _Metric:
        target, metric, about = source["target"], source["metric"], source["describedObject"]
        name = metric["name"]
        per_pod = target.get("type") == "AverageValue" and target.get("averageValue") is not None
        if not per_pod and not (target.get("type") == "Value" and target.get("value") is not None):
            raise MetricError(
                "invalid object metric source: neither a value target nor an average value target was set"
            )
        try:
            resource = await self._scales.resource(about.get("apiVersion", "v1"), about["kind"])
            plural, _, rest = resource.partition(".")
            group = rest.partition(".")[2]
            qualified = f"{plural}.{group}" if group else plural
            usage = await self._metrics.of_object(metric, namespace, about, qualified)
        except (MetricError, NoSuchKind) as error:
            text = f"unable to get metric {name} on {about['kind']} {namespace}/{about['name']}: {error}"
            full = f"failed to get {name} object metric: {text}" if per_pod else text
            raise MetricError(full, text) from error
        status: dict[str, Any] = {"metric": metric, "describedObject": about}
        if per_pod:
            replicas, average = calculator.per_pod(usage, told, quantity.to_int_milli(target["averageValue"]))
            status["current"] = {"averageValue": quantity.format_milli(average)}
            label = f"external metric {name}({go_text(metric.get('selector'))})"
        else:
            replicas = calculator.by_value(usage, wanted, quantity.to_int_milli(target["value"]))
            status["current"] = {"value": quantity.format_milli(usage)}
            label = f"{about['kind']} metric {name}"
        return _Metric(replicas, label, {"type": "Object", "object": status})

    async def _of_external(
        self, source: Mapping[str, Any], namespace: str, wanted: int, told: int, calculator: Calculator
    ) -> _Metric:
        target, metric = source["target"], source["metric"]
        name, selector = metric["name"], go_text(metric.get("selector"))
        per_pod = target.get("averageValue") is not None
        if not per_pod and target.get("value") is None:
            raise MetricError(
                "invalid external metric source: neither a value target nor an average value target was set"
            )
        try:
            usage = await self._metrics.external(metric, namespace)
        except MetricError as error:
            text = f"unable to get external metric {namespace}/{name}/{selector}: {error}"
            what = f"{name} external metric" if per_pod else f"external metric {name}"
            raise MetricError(f"failed to get {what}: {text}", text) from error
        status: dict[str, Any] = {"metric": metric}
        if per_pod:
            goal = quantity.to_int_milli(target["averageValue"])
            replicas, average = calculator.per_pod(usage, told, goal)
            status["current"] = {"averageValue": quantity.format_milli(average)}
        else:
            replicas = calculator.by_value(usage, wanted, quantity.to_int_milli(target["value"]))
            status["current"] = {"value": quantity.format_milli(usage)}
        return _Metric(
            replicas, f"external metric {name}({selector})", {"type": "External", "external": status}
        )

    # --- status

    def _status(self, now: _Pass, current: int) -> dict[str, Any]:
        status = dict(now.hpa.get("status") or {})
        if current:
            status["currentReplicas"] = current
        else:
            status.pop("currentReplicas", None)
        status.setdefault("desiredReplicas", 0)
        if now.metrics:
            status["currentMetrics"] = now.metrics
        else:
            status.pop("currentMetrics", None)
        status["observedGeneration"] = meta.get(now.hpa, "metadata", "generation", default=0)
        return status

    async def _put(self, now: _Pass, status: dict[str, Any]) -> None:
        status["conditions"] = now.conditions
        if status != (now.hpa.get("status") or {}):
            await self.client.update(self.resource, {**now.hpa, "status": status}, subresource="status")


def _what(spec: Mapping[str, Any]) -> str:
    match spec["type"]:
        case "Resource":
            return f"{spec['resource']['name']} resource metric"
        case "ContainerResource":
            return f"{spec['containerResource']['container']} container metric"
        case "External":
            return f"{spec['external']['metric']['name']} external metric"
    return f"{str(spec['type']).lower()} metric"


def _words(error: ApiError | MetricError | NoSuchKind) -> str:
    return error.message if isinstance(error, ApiError) else str(error)
