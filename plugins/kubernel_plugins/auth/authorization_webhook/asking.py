"""One webhook: the question, its conditions, and the answers that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from kubernel import cel
from kubernel.errors import PluginError
from kubernel.registry.attributes import Attributes, Decision
from kubernel_plugins.webhooks import Caller, CallFailed, Target

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel_plugins.auth.authorization_webhook import WebhookSettings

__all__ = ["Webhook"]

_KEPT = 8192
_REQUEST = cel.object_type(
    "kubernetes.SubjectAccessReviewSpec",
    {
        "user": cel.STRING,
        "uid": cel.STRING,
        "groups": cel.list_of(cel.STRING),
        "extra": cel.map_of(cel.STRING, cel.list_of(cel.STRING)),
        "resourceAttributes": cel.object_type(
            "kubernetes.ResourceAttributes",
            dict.fromkeys(
                ("namespace", "verb", "group", "version", "resource", "subresource", "name"), cel.STRING
            ),
        ),
        "nonResourceAttributes": cel.object_type(
            "kubernetes.NonResourceAttributes", {"path": cel.STRING, "verb": cel.STRING}
        ),
    },
)


class Webhook:
    def __init__(self, handle: Handle, caller: Caller, settings: WebhookSettings) -> None:
        self._handle = handle
        self._caller = caller
        self._settings = settings
        self._target = Target.of_kubeconfig(settings.kubeconfig)
        self._answers: dict[Attributes, tuple[float, Decision | None]] = {}
        environment = cel.Environment({"request": _REQUEST})
        self._conditions: list[cel.Program] = []
        for condition in settings.match_conditions:
            try:
                program = environment.compile(condition.expression)
            except cel.CompileError as error:
                raise PluginError(
                    f"auth/authorization_webhook: {settings.name}: compilation failed: {error}"
                ) from None
            if program.result != cel.BOOL:
                raise PluginError(
                    f"auth/authorization_webhook: {settings.name}: a condition must evaluate to bool"
                )
            self._conditions.append(program)

    def known(self, attributes: Attributes) -> Decision | None:
        found = self._answers.get(attributes)
        if found is None or found[0] <= self._handle.clock.monotonic():
            return None
        return found[1]

    async def ask(self, attributes: Attributes) -> Decision | None:
        """The answer, kept for who asks next."""
        settings = self._settings
        now = self._handle.clock.monotonic()
        found = self._answers.get(attributes)
        if found is not None and found[0] > now:
            return found[1]
        spec = _spec(attributes)
        try:
            if not all(program.evaluate({"request": spec}) is True for program in self._conditions):
                return self._keep(attributes, None, settings.unauthorized_ttl)
            review = {"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": spec}
            answer = await self._caller.post(
                self._target, orjson.dumps(review), max(1, int(settings.timeout))
            )
            status = orjson.loads(answer).get("status") or {}
        except (CallFailed, cel.EvaluationError, orjson.JSONDecodeError, AttributeError) as error:
            self._handle.log.warning("the webhook {} gave no answer: {}", settings.name, error)
            if settings.failure_policy == "NoOpinion":
                return self._keep(attributes, None, 0.0)
            # Just long enough for the request that asked.
            return self._keep(attributes, Decision(False, f"{settings.name}: no answer"), 0.001)
        reason = str(status.get("reason") or "")
        if status.get("allowed") and not status.get("denied"):
            return self._keep(attributes, Decision(True, reason), settings.authorized_ttl)
        final = bool(status.get("denied"))
        return self._keep(attributes, Decision(False, reason, final=final), settings.unauthorized_ttl)

    def _keep(self, attributes: Attributes, decision: Decision | None, seconds: float) -> Decision | None:
        if len(self._answers) >= _KEPT:
            self._answers.clear()
        self._answers[attributes] = (self._handle.clock.monotonic() + seconds, decision)
        return decision


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
    spec["resourceAttributes"] = {key: value for key, value in told.items() if value}
    return spec
