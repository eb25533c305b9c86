"""One webhook: the question, and the answers that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from kubernel import cel
from kubernel.errors import PluginError
from kubernel.registry.attributes import Attributes, Decision
from kubernel_plugins.auth.authorization_webhook.conditions import unmatched
from kubernel_plugins.selector_terms import field_requirements, label_requirements
from kubernel_plugins.webhooks import Caller, CallFailed, Target

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel_plugins.auth.authorization_webhook.configuration import WebhookSettings
    from kubernel_plugins.auth.authorization_webhook.metrics import Metrics

__all__ = ["Webhook"]

_KEPT = 8192
_MOST_KEPT = 10_000
"""Bytes of a question whose answer is kept."""


class Webhook:
    def __init__(self, handle: Handle, caller: Caller, settings: WebhookSettings, metrics: Metrics) -> None:
        self._handle = handle
        self._caller = caller
        self._settings = settings
        self._metrics = metrics
        if not settings.kubeconfig:
            raise PluginError(
                "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be "
                "defined"
            )
        self._target = Target.of_kubeconfig(settings.kubeconfig)
        self._answers: dict[Attributes, tuple[float, Decision | None]] = {}
        self._now: tuple[Attributes, Decision] | None = None
        """An answer for the request alone that has just asked: nothing else runs before it is fetched."""

    def known(self, attributes: Attributes) -> Decision | None:
        if self._now is not None:
            asked, decision = self._now
            self._now = None
            if asked is attributes:
                return decision
        found = self._answers.get(attributes)
        if found is None or found[0] <= self._handle.clock.monotonic():
            return None
        return found[1]

    async def ask(self, attributes: Attributes) -> None:
        """Find out what ``known`` answers next."""
        settings = self._settings
        found = self._answers.get(attributes)
        if found is not None and found[0] > self._handle.clock.monotonic():
            return
        spec = _spec(attributes)
        if settings.conditions:
            try:
                if unmatched(settings.conditions, spec):
                    self._metrics.excluded(settings.name)
                    return
            except cel.EvaluationError as error:
                self._metrics.broken(settings.name)
                self._handle.log.warning("{}: a condition cannot be told: {}", settings.name, error)
                self._no_answer(attributes, "")
                return
        begun = self._handle.clock.monotonic()
        try:
            status = await self._asked(spec)
        except (CallFailed, orjson.JSONDecodeError, AttributeError) as error:
            result = "timeout" if "deadline exceeded" in str(error) else "error"
            self._metrics.asked(settings.name, result, self._handle.clock.monotonic() - begun)
            self._handle.log.warning("the webhook {} gave no answer: {}", settings.name, error)
            self._no_answer(attributes, result)
            return
        self._metrics.asked(settings.name, "success", self._handle.clock.monotonic() - begun)
        reason = str(status.get("reason") or "")
        allowed, denied = bool(status.get("allowed")), bool(status.get("denied"))
        if allowed and denied:
            self._handle.log.warning("the webhook {} both allows and denies", settings.name)
            self._no_answer(attributes, "error")
            return
        decision = Decision(allowed, reason, final=allowed or denied)
        self._now = (attributes, decision)
        seconds = settings.authorized_ttl if allowed else settings.unauthorized_ttl
        if seconds and len(orjson.dumps(spec)) <= _MOST_KEPT:
            if len(self._answers) >= _KEPT:
                self._answers.clear()
            self._answers[attributes] = (self._handle.clock.monotonic() + seconds, decision)

    async def _asked(self, spec: dict[str, Any]) -> dict[str, Any]:
        settings = self._settings
        if settings.version == "v1beta1":
            spec = {"group" if key == "groups" else key: value for key, value in spec.items()}
        review = {
            "kind": "SubjectAccessReview",
            "apiVersion": f"authorization.k8s.io/{settings.version}",
            "metadata": {},
            "spec": spec,
        }
        answer = await self._caller.post(self._target, orjson.dumps(review), max(1, int(settings.timeout)))
        status: dict[str, Any] = orjson.loads(answer).get("status") or {}
        return status

    def _no_answer(self, attributes: Attributes, result: str) -> None:
        if self._settings.denies_on_error:
            self._now = (attributes, Decision(False, ""))
        elif result:
            self._metrics.failed_open(self._settings.name, result)


def _spec(asked: Attributes) -> dict[str, Any]:
    user = asked.user
    spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups)}
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra.items()}
    if asked.path:
        spec["nonResourceAttributes"] = {"path": asked.path, "verb": asked.verb}
        return spec
    told = {
        "namespace": asked.namespace,
        "verb": asked.verb,
        "group": asked.group,
        "version": asked.version,
        "resource": asked.resource,
        "subresource": asked.subresource,
        "name": asked.name,
    }
    attributes: dict[str, Any] = {key: value for key, value in told.items() if value}
    if asked.field_selector and (fields := field_requirements(asked.field_selector)):
        attributes["fieldSelector"] = {"requirements": fields}
    if asked.label_selector and (labels := label_requirements(asked.label_selector)):
        attributes["labelSelector"] = {"requirements": labels}
    spec["resourceAttributes"] = attributes
    return spec
