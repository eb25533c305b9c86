"""What the two kinds of admission webhooks share: which are asked about a request, the asking, and the answer.

Source: k8s.io/apiserver/pkg/admission/plugin/webhook/{generic,request,errors} (v1.37).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from kubernel.errors import ApiError, BadRequest, Cause, Forbidden, InternalError
from kubernel.objects import meta, names
from kubernel.objects.go_json import syntax_problem
from kubernel.registry.request import AUDIT_NOTES
from kubernel_plugins.admission.matching import (
    Equivalents,
    MatchResources,
    exempt,
    presented,
    stored_namespace,
)

if TYPE_CHECKING:
    from kubernel.cel import Authorizer
    from kubernel.plugin import Handle
    from kubernel.registry.request import Request
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj
    from kubernel_plugins.expressions import MatchConditions
    from kubernel_plugins.webhooks import Caller, Target

__all__ = ["CallError", "Verdict", "Webhook", "Webhooks"]

_VERSIONS = ("v1", "v1beta1")
_WITHOUT_EFFECTS = ("None", "NoneOnDryRun")


class CallError(Exception):
    """A webhook gave no usable answer: what its ``failurePolicy`` is about. ``str()`` says why."""


class Verdict(NamedTuple):
    """A webhook's answer, checked. ``patch`` is what it wants changed, a JSON patch, if anything."""

    refusal: ApiError | None
    patch: Any = None


class Webhook:
    """One webhook of a configuration, compiled as far as it has been needed."""

    __slots__ = ("_conditions", "_target", "fails", "matcher", "name", "reinvoked", "spec", "timeout", "uid")

    def __init__(self, configuration: str, index: int, spec: Mapping[str, Any]) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.uid = f"{configuration}/{self.name}/{index}"
        self.matcher = MatchResources(spec)
        self.fails = spec.get("failurePolicy") != "Ignore"
        self.reinvoked = spec.get("reinvocationPolicy") == "IfNeeded"
        self.timeout = int(spec.get("timeoutSeconds") or 10)
        self._conditions: MatchConditions | None = None
        self._target: Target | None = None

    @property
    def conditions(self) -> MatchConditions | None:
        """None when there are none: CEL is then not loaded."""
        if self._conditions is None and self.spec.get("matchConditions"):
            from kubernel_plugins.expressions import MatchConditions

            self._conditions = MatchConditions(self.spec["matchConditions"])
        return self._conditions

    @property
    def target(self) -> Target:
        """Raises CallFailed."""
        if self._target is None:
            from kubernel_plugins.webhooks import Target

            self._target = Target.of(self.spec.get("clientConfig") or {})
        return self._target


class Webhooks:
    """The webhooks of one kind of configuration, always current."""

    def __init__(self, handle: Handle, resource: str, *, mutating: bool) -> None:
        self._handle = handle
        self._resource = resource
        self._mutating = mutating
        self._equivalents = Equivalents(handle.registry)
        self._sorted: tuple[Webhook, ...] | None = ()
        self._unlisten: Callable[[], None] | None = None
        self._caller: Caller | None = None

    def start(self) -> None:
        client = self._handle.client("system:apiserver", ("system:masters",))
        self._configurations = client.informer(self._resource)
        self._unlisten = self._configurations.add_listener(self._changed)

    async def stop(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        if self._caller is not None:
            caller, self._caller = self._caller, None
            await caller.close()

    def _changed(self, type: Any, obj: Obj, old: Obj | None) -> None:
        self._sorted = None

    def all(self) -> Sequence[Webhook]:
        """By the name of their configuration, then as they stand in it."""
        if self._sorted is None:
            self._sorted = tuple(
                Webhook(meta.name(configuration), index, spec)
                for configuration in sorted(self._configurations.list(), key=meta.name)
                for index, spec in enumerate(configuration.get("webhooks") or ())
            )
        return self._sorted

    def asks(self, request: Request) -> bool:
        """Whether any webhook may be asked: the quick way out for a cluster without."""
        return bool(self.all()) and not exempt(request)

    async def match(self, webhook: Webhook, request: Request) -> ResourceType | None:
        """The version in which the webhook sees the request, None when it is not asked. Raises ApiError."""
        type = webhook.matcher.match(request, self._equivalents, self._namespace)
        if type is None or webhook.conditions is None:
            return type
        from kubernel_plugins.expressions import ExpressionError, View, authorizer

        obj, old = await presented(request, type)
        ask: Authorizer = authorizer(self._handle.hooks, request.user)
        try:
            holds = webhook.conditions.hold(View(request, type, obj, old, ask=ask))
        except ExpressionError as error:
            if not webhook.fails:
                return None
            raise Forbidden.for_object(
                request.type.plural, request.type.group, request.name, str(error)
            ) from None
        return type if holds else None

    def _namespace(self, name: str) -> Obj | None:
        return stored_namespace(self._handle.registry, name)

    async def call(self, webhook: Webhook, request: Request, type: ResourceType) -> Verdict:
        """Ask. Raises CallError, and ApiError for what no policy excuses."""
        if request.dry_run and webhook.spec.get("sideEffects") not in _WITHOUT_EFFECTS:
            raise BadRequest(f'admission webhook "{webhook.name}" does not support dry run')
        version = next(
            (one for one in webhook.spec.get("admissionReviewVersions") or () if one in _VERSIONS), ""
        )
        if not version:
            raise CallError(
                "could not create admission objects: webhook does not accept known AdmissionReview versions "
                "(v1, v1beta1)"
            )
        from kubernel_plugins.webhooks import Caller, CallFailed

        uid = names.uuid(self._handle.rng)
        body = orjson.dumps(await _review(request, type, version, uid))
        if self._caller is None:
            self._caller = Caller(self._handle)
        try:
            answer = await self._caller.post(webhook.target, body, webhook.timeout)
        except CallFailed as error:
            raise CallError(f"failed to call webhook: {error}") from None
        response = self._checked(answer, version, uid)
        for key, value in (response.get("auditAnnotations") or {}).items():
            request.notes.setdefault(AUDIT_NOTES, {})[f"{webhook.name}/{key}"] = value
        for text in response.get("warnings") or ():
            request.warn(text)
        if not response.get("allowed"):
            return Verdict(_refusal(webhook.name, response.get("status")))
        return Verdict(None, self._patch(response))

    def _checked(self, answer: bytes, version: str, uid: str) -> Obj:
        """``response`` of an AdmissionReview. Raises CallError."""
        from kubernel_plugins.webhooks import CallFailed, decoded_review

        try:
            review = decoded_review(answer, "admission.k8s.io", version, "AdmissionReview")
        except CallFailed as error:
            raise CallError(f"failed to call webhook: {error}") from None
        said = (review.get("apiVersion") or "", review.get("kind") or "")
        response = review.get("response")
        if not isinstance(response, dict):
            raise CallError("received invalid webhook response: webhook response was absent")
        if version == "v1":
            if response.get("uid") != uid:
                raise CallError(
                    f'received invalid webhook response: expected response.uid="{uid}", '
                    f'got "{response.get("uid") or ""}"'
                )
            if said != ("admission.k8s.io/v1", "AdmissionReview"):
                raise CallError(
                    "received invalid webhook response: expected webhook response of admission.k8s.io/v1, "
                    f"Kind=AdmissionReview, got {said[0] or '/'}, Kind={said[1]}"
                )
            self._check_patch(response)
        return response

    def _check_patch(self, response: Obj) -> None:
        patch, kind = response.get("patch"), response.get("patchType")
        why = ""
        if not self._mutating:
            if patch:
                why = "validating webhook may not return response.patch"
            elif kind is not None:
                why = "validating webhook may not return response.patchType"
        elif patch and kind is None:
            why = "webhook returned response.patch but not response.patchType"
        elif kind is not None and not patch:
            why = "webhook returned response.patchType but not response.patch"
        elif kind == "":
            why = 'webhook returned invalid response.patchType of ""'
        if why:
            raise CallError(f"received invalid webhook response: {why}")

    def _patch(self, response: Obj) -> Any:
        if not self._mutating or not response.get("patch"):
            return None
        try:
            text = base64.b64decode(response["patch"], validate=True).decode(errors="replace")
        except (binascii.Error, TypeError, ValueError):
            at = _BASE64.match(str(response["patch"]))
            wrong = f"illegal base64 data at input byte {at.end() if at else 0}"
            raise CallError(f"failed to call webhook: {wrong}") from None
        if problem := syntax_problem(text):
            raise CallError(f"received undecodable patch in webhook response: {problem}")
        patch = orjson.loads(text)
        kind = response.get("patchType")
        if patch and kind is not None and kind != "JSONPatch":
            raise CallError(f'unsupported patch type "{kind}"')
        return patch

    def failed_open(self, webhook: Webhook, error: CallError) -> None:
        self._handle.log.warning("{}, failing open", _failed(webhook, error))

    @staticmethod
    def failure(webhook: Webhook, error: CallError) -> ApiError:
        text = _failed(webhook, error)
        return InternalError(f"Internal error occurred: {text}", causes=(Cause("", text),))


_BASE64 = re.compile("[A-Za-z0-9+/]*")


def _failed(webhook: Webhook, error: CallError) -> str:
    return f'failed calling webhook "{webhook.name}": {error}'


async def _review(request: Request, type: ResourceType, version: str, uid: str) -> Obj:
    from kubernel_plugins.expressions import admission_request

    asked = admission_request(request, type)
    obj, old = await presented(request, type)
    return {
        "kind": "AdmissionReview",
        "apiVersion": f"admission.k8s.io/{version}",
        "request": {"uid": uid, **asked, "object": obj, "oldObject": old},
    }


def _refusal(name: str, status: Obj | None) -> ApiError:
    """The denial, with what the webhook said about it; its code is at least 400."""
    given = dict(status) if isinstance(status, dict) else {}
    denied = f'admission webhook "{name}" denied the request'
    why = given.get("message") or given.get("reason")
    given["message"] = f"{denied}: {why}" if why else f"{denied} without explanation"
    code = given.get("code")
    given["code"] = code if isinstance(code, int) and code >= 400 else 400
    error = ApiError.from_status(given)
    error.status_reason = given.get("reason") or ""
    return error
