"""Audit events of requests: audit.k8s.io/v1 Event, told to the audit plugins stage by stage.

Source: k8s.io/apiserver/pkg/endpoints/filters/audit.go, pkg/audit/request.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from kubernel.clock import micro_time

from .audit_policy import LEVELS, Policy, Verdict

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.attributes import Attributes, Decision

    from .transport import Exchange, Reply

__all__ = ["Auditor", "Told", "Trail"]

_REQUEST, _RESPONSE = 2, 3


class Told(NamedTuple):
    """What the events of all such requests say. ``spec`` is never changed; of what is each request's own it has the
    places. Without a ``verdict`` nothing is told."""

    verdict: Verdict | None
    spec: dict[str, Any]


class Trail:
    """What is told of one request. ``notes`` are its annotations; ``body`` what the client sent."""

    __slots__ = ("_handle", "_spec", "body", "notes", "verdict")

    def __init__(self, handle: Handle, verdict: Verdict, spec: dict[str, Any]) -> None:
        self._handle = handle
        self._spec = spec
        self.verdict = verdict
        self.notes: dict[str, str] = {}
        self.body = b""

    def tells(self, stage: str) -> bool:
        return stage not in self.verdict.omitted

    async def tell(self, stage: str, reply: Reply | None = None, status: int = 200) -> None:
        if stage in self.verdict.omitted:
            return
        event = {
            **self._spec,
            "stage": stage,
            "stageTimestamp": micro_time(self._handle.clock.time()),
        }
        if stage != "RequestReceived":
            event["responseStatus"] = _status(reply, status, self._spec)
        if stage == "ResponseComplete":
            if self.verdict.level >= _REQUEST and self.body:
                event["requestObject"] = self._object(self.body)
            if self.verdict.level >= _RESPONSE and reply is not None and reply.body:
                event["responseObject"] = self._object(reply.body)
        if self.notes:
            event["annotations"] = dict(self.notes)
        if (waiting := self._handle.hooks.audit(event)) is not None:
            await waiting

    def named(self, obj: Mapping[str, Any]) -> None:
        """The object of a request whose path does not name it."""
        reference = self._spec.get("objectRef")
        if reference is None or "name" in reference:
            return
        metadata = obj.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if isinstance(name, str):
            self._spec["objectRef"] = {**reference, "name": name}

    def decided(self, decision: Decision) -> None:
        """What the authorizers said."""
        self.notes["authorization.k8s.io/decision"] = "allow" if decision.allowed else "forbid"
        self.notes["authorization.k8s.io/reason"] = decision.reason

    def _object(self, data: bytes) -> Any:
        """The JSON object; what is no JSON (YAML, protobuf) is left out."""
        try:
            obj = orjson.loads(data)
        except orjson.JSONDecodeError:
            return None
        if self.verdict.omit_managed_fields and isinstance(obj, dict):
            for one in (obj, *(obj.get("items") or ())):
                if isinstance(one, dict) and isinstance(one.get("metadata"), dict):
                    one["metadata"].pop("managedFields", None)
        return obj


class Auditor:
    """Decides by the policy what is told of a request."""

    def __init__(self, handle: Handle, policy: Policy) -> None:
        self._handle = handle
        self.policy = policy

    def about(self, exchange: Exchange, asked: Attributes) -> Told:
        """What is the same for all requests with these header lines that ask this of any object."""
        verdict = self.policy.verdict(asked)
        if not verdict.level:
            return Told(None, {})
        original = exchange.original
        spec: dict[str, Any] = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": LEVELS[verdict.level],
            "auditID": "",
            "stage": "",
            "requestURI": "",
            "verb": asked.verb,
            "user": (original or asked.user).as_dict(),
        }
        if original is not None:
            spec["impersonatedUser"] = asked.user.as_dict()
        spec["sourceIPs"] = []
        spec["userAgent"] = exchange.headers.get("User-Agent", "")
        if asked.resource:
            spec["objectRef"] = _reference(asked)
        return Told(verdict, spec)

    def begin(self, exchange: Exchange, told: Told, name: str, stamp: bytes) -> Trail | None:
        """None when nothing is told. ``name`` is the object's where the path says it; ``stamp`` begins with the header
        line of the request's id."""
        if told.verdict is None:
            return None
        spec = told.spec.copy()
        spec["auditID"] = stamp[10:46].decode()
        spec["requestURI"] = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
        spec["sourceIPs"] = [exchange.connection.remote]
        if name and "objectRef" in spec:
            spec["objectRef"] = {**spec["objectRef"], "name": name}
        spec["requestReceivedTimestamp"] = micro_time(self._handle.clock.time())
        return Trail(self._handle, told.verdict, spec)


def _reference(asked: Attributes) -> Mapping[str, str]:
    told = {
        "resource": asked.resource,
        "namespace": asked.namespace,
        "name": asked.name,
        "apiGroup": asked.group,
        "apiVersion": asked.version,
        "subresource": asked.subresource,
    }
    return {key: value for key, value in told.items() if value}


def _status(reply: Reply | None, status: int, spec: Mapping[str, Any]) -> dict[str, Any]:
    """What the answer says of itself; an invalid Secret's refusal may quote it and is not written down."""
    code = status if reply is None else reply.status
    told: dict[str, Any] = {"metadata": {}, "code": code}
    if reply is not None and code >= 400:
        try:
            document = orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            return told
        if isinstance(document, dict):
            secret = code == 422 and spec.get("objectRef", {}).get("resource") == "secrets"
            kept = ("status", "reason") if secret else ("status", "message", "reason", "details")
            told.update({key: document[key] for key in kept if key in document})
    return told
