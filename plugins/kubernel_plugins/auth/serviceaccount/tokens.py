"""TokenRequest, TokenReview and who a token belongs to.

Source: kubernetes/pkg/serviceaccount/{claims,jwt}.go, pkg/registry/core/serviceaccount/storage/token.go.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.errors import BadRequest, Cause, Conflict, Invalid, NotFound, Unauthorized
from kubernel.objects import names, times
from kubernel.registry.apply import track_update
from kubernel.registry.attributes import Credentials
from kubernel.registry.request import UserInfo
from kubernel_plugins import legacytokens
from kubernel_plugins.auth.serviceaccount.legacy import LegacyTokens

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj
    from kubernel_plugins.tokenkeys import SigningKey

__all__ = ["Tokens"]

_MIN_SECONDS = 600
_MAX_SECONDS = 1 << 32
_DEFAULT_SECONDS = 3600
_YEAR = 365 * 86400
_CACHE = 4096
_LEEWAY = 60.0
_PRIVATE = "kubernetes.io"
_WEBHOOK_GATE = "APIServerWebhookAuthenticationToken"
_WEBHOOKS = frozenset(
    ("admissionregistration.k8s.io", "v1", kind)
    for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
)
"""What tokens could be bound to if that were on."""
_BOUND = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


class Tokens:
    """Verified signatures are remembered by the token's hash; expiry and the bound objects are looked
    at each time, so that a token is void the moment its pod is gone."""

    def __init__(
        self, key: SigningKey, issuer: str, audiences: tuple[str, ...], longest: int, handle: Handle
    ) -> None:
        self._key = key
        self._issuer = issuer
        self._audiences = audiences
        self._longest = longest
        self._handle = handle
        self._registry = handle.registry
        self._clock = handle.clock
        self._verified: dict[bytes, dict[str, Any]] = {}
        self._legacy = LegacyTokens(handle, self._find)

    # --- TokenRequest

    def check(self, request: Request) -> None:
        """A TokenRequest; what it leaves out of itself is filled in."""
        obj = request.obj = dict(request.obj or {})
        spec = obj["spec"] = {
            key: value for key, value in (obj.get("spec") or {}).items() if value is not None
        }
        if "expirationSeconds" not in spec:
            spec["expirationSeconds"] = _DEFAULT_SECONDS
        told = dict(obj.get("metadata") or {})
        if managed := self._tracked(request, obj):
            told["managedFields"] = managed
        if told.get("name") and told["name"] != request.name:
            text = f'Invalid value: "{told["name"]}": must match the service account name if specified'
            raise Invalid.for_object(
                "TokenRequest",
                "authentication.k8s.io",
                request.name,
                [Cause("FieldValueInvalid", text, "metadata.name")],
            )
        account = self._get("serviceaccounts", request.namespace, request.name)
        uid = account["metadata"]["uid"]
        if told.get("uid") and told["uid"] != uid:
            raise Conflict.for_object(
                "TokenRequest",
                "authentication.k8s.io",
                request.name,
                f"the UID in the token request ({told['uid']}) does not match the UID of the service account "
                f"({uid})",
            )
        obj["metadata"] = {**told, "name": request.name, "namespace": request.namespace, "uid": uid}
        obj["metadata"]["creationTimestamp"] = rfc3339(self._clock.time())
        spec["audiences"] = list(spec.get("audiences") or self._audiences)
        spec.setdefault("boundObjectRef", None)
        obj.pop("status", None)
        causes = _check(spec, spec["expirationSeconds"])
        if causes:
            raise Invalid.for_object("TokenRequest", "authentication.k8s.io", "", causes)

    def _tracked(self, request: Request, obj: Obj) -> list[Obj]:
        """The managedFields of what the client sent, with its defaults."""
        schema = request.type.subresources[request.subresource].schema
        return track_update(
            schema() if schema is not None else None,
            None,
            obj,
            manager=request.options.field_manager,
            api_version=obj["apiVersion"],
            subresource=request.subresource,
            now=rfc3339(self._clock.time()),
        )

    def request(self, request: Request) -> Obj:
        """POST serviceaccounts/NAME/token."""
        obj = request.obj or {}
        spec = obj["spec"]
        account = self._get("serviceaccounts", request.namespace, request.name)
        seconds = spec["expirationSeconds"]
        audiences = spec["audiences"]
        private: dict[str, Any] = {
            "namespace": request.namespace,
            "serviceaccount": {"name": request.name, "uid": account["metadata"]["uid"]},
        }
        self._bind(private, spec["boundObjectRef"], request)
        if self._longest and seconds > self._longest:
            request.warn(f"requested expiration of {seconds} seconds shortened to {self._longest} seconds")
            seconds = self._longest
        now = int(self._clock.time())
        claims = {
            "aud": audiences,
            "exp": now + seconds,
            "iat": now,
            "iss": self._issuer,
            "jti": names.uuid(self._handle.rng),
            _PRIVATE: private,
            "nbf": now,
            "sub": f"system:serviceaccount:{request.namespace}:{request.name}",
        }
        if seconds == 3607 and "pod" in private and set(audiences) == set(self._audiences):
            # What kubelets ask for: they refresh in time, and old clients get a year (upstream's rule).
            private["warnafter"] = now + seconds
            claims["exp"] = now + min(_YEAR, self._longest or _YEAR)
        return {
            **obj,
            "spec": {**spec, "expirationSeconds": seconds},
            "status": {"token": self._key.sign(claims), "expirationTimestamp": rfc3339(now + seconds)},
        }

    def _bind(self, private: dict[str, Any], ref: dict[str, Any] | None, request: Request) -> None:
        if ref is None:
            return
        kind, name = ref.get("kind") or "", ref.get("name") or ""
        group, _, version = (ref.get("apiVersion") or "").rpartition("/")
        plural = _BOUND.get(kind)
        if plural is None or group:
            gate = (
                f" (feature gate {_WEBHOOK_GATE} is disabled)" if (group, version, kind) in _WEBHOOKS else ""
            )
            raise BadRequest(f"cannot bind token to object of type {group}/{version}, Kind={kind}{gate}")
        if not name:
            raise BadRequest("Name parameter required.")
        bound = self._get(plural, "" if kind == "Node" else request.namespace, name)
        uid = bound["metadata"]["uid"]
        if kind == "Pod":
            spec = bound.get("spec") or {}
            used = spec.get("serviceAccountName") or "default"
            if used != request.name:
                raise BadRequest(
                    f'cannot bind token for serviceaccount "{request.name}" to pod running with different '
                    "serviceaccount name."
                )
            if node_name := spec.get("nodeName"):
                node = self._find("nodes", "", node_name)
                private["node"] = {"name": node_name}
                if node is not None:
                    private["node"]["uid"] = node["metadata"]["uid"]
        if ref.get("uid") and ref["uid"] != uid:
            raise Conflict.for_object(
                kind,
                "",
                name,
                f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. The object "
                "might have been deleted and then recreated",
            )
        private[kind.lower()] = {"name": name, "uid": uid}

    # --- authentication

    def authenticate(self, token: str) -> UserInfo | None:
        claims = self._claims(token)
        if claims is None:
            return None
        return self._user(claims, self._audiences, token)

    def _claims(self, token: str) -> dict[str, Any] | None:
        """None for a token that is not ours; Unauthorized for a forged one."""
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        known = self._verified.get(digest)
        if known is not None:
            return known
        if _peek(token).get("iss") not in (self._issuer, legacytokens.ISSUER):
            return None
        try:
            claims = self._key.verify(token)
        except ValueError:
            raise Unauthorized from None
        if len(self._verified) >= _CACHE:
            self._verified.clear()
        self._verified[digest] = claims
        return claims

    def _user(self, claims: dict[str, Any], audiences: tuple[str, ...], token: str) -> UserInfo:
        if claims.get("iss") == legacytokens.ISSUER != self._issuer:
            if not any(audience in audiences for audience in self._audiences):
                raise Unauthorized
            return self._legacy.user(claims, token)
        now = self._clock.time()
        told = claims.get("aud") or []
        mine = [told] if isinstance(told, str) else told
        if claims.get("exp", 0) <= now or claims.get("nbf", 0) > now + 1:
            raise Unauthorized
        if not any(audience in audiences for audience in mine):
            raise Unauthorized
        private = claims.get(_PRIVATE) or {}
        namespace = private.get("namespace", "")
        account = private.get("serviceaccount") or {}
        name = account.get("name", "")
        if not self._lives("serviceaccounts", namespace, account):
            raise Unauthorized
        extra: dict[str, tuple[str, ...]] = {
            "authentication.kubernetes.io/credential-id": (f"JTI={claims.get('jti', '')}",)
        }
        for kind, plural in (("pod", "pods"), ("secret", "secrets"), ("node", "nodes")):
            bound = private.get(kind)
            if bound is None:
                continue
            # The node beside a pod is told, not bound to: the pod may outlive its Node object.
            binding = kind != "node" or "pod" not in private
            if binding and not self._lives(plural, "" if kind == "node" else namespace, bound):
                raise Unauthorized
            if kind != "secret":
                extra[f"authentication.kubernetes.io/{kind}-name"] = (bound["name"],)
                if bound.get("uid"):
                    extra[f"authentication.kubernetes.io/{kind}-uid"] = (bound["uid"],)
        return UserInfo(
            f"system:serviceaccount:{namespace}:{name}",
            ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"),
            account.get("uid", ""),
            extra,
        )

    # --- TokenReview

    async def review(self, request: Request) -> Obj:
        obj = request.obj or {}
        spec = obj.get("spec") or {}
        token = spec.get("token") or ""
        if not token:
            raise BadRequest("token is required for TokenReview in authentication")
        wanted = tuple(spec.get("audiences") or ())
        status: dict[str, Any] = {"user": {}}
        try:
            claims = self._claims(token)
            if claims is not None:
                audiences = wanted or self._audiences
                user: UserInfo | None = self._user(claims, audiences, token)
                # A token of a Secret names no audience: it is for this server.
                told = claims.get("aud") or list(self._audiences)
                told = [told] if isinstance(told, str) else told
                shared = [audience for audience in told if audience in audiences]
            else:
                answer: Any = self._handle.hooks.authenticate(Credentials(token=token))
                user = await answer if inspect.isawaitable(answer) else answer
                # Who issued it named no audience: it is for this server.
                shared = (
                    [one for one in wanted if one in self._audiences] if wanted else list(self._audiences)
                )
                if user is None or not shared:
                    user, status["error"] = None, "invalid bearer token"
            if user is not None:
                groups = dict.fromkeys((*user.groups, "system:authenticated"))
                told = {**user.as_dict(), "groups": list(groups)}
                status = {"authenticated": True, "user": told, "audiences": shared}
        except Unauthorized:
            status["error"] = "[invalid bearer token, token lookup failed]"
        return {**obj, "status": status}

    # --- objects

    def _find(self, plural: str, namespace: str, name: str) -> Obj | None:
        type = self._registry.lookup("", "v1", plural)
        if type is None or not name:
            return None
        try:
            return self._registry.get(type, namespace, name).obj
        except NotFound:
            return None

    def _get(self, plural: str, namespace: str, name: str) -> Obj:
        found = self._find(plural, namespace, name)
        if found is None:
            raise NotFound.for_object(plural, "", name)
        return found

    def _lives(self, plural: str, namespace: str, ref: dict[str, Any]) -> bool:
        """Whether the very object is there, and has not been on its way out for more than its grace and a minute."""
        found = self._find(plural, namespace, ref.get("name", ""))
        if found is None or found["metadata"].get("uid") != ref.get("uid"):
            return False
        gone = found["metadata"].get("deletionTimestamp")
        return gone is None or times.parse(gone) > self._clock.time() - _LEEWAY


def _peek(token: str) -> dict[str, Any]:
    """The claims of a JWT, unverified; empty for anything else."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > 16384:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


def _check(spec: dict[str, Any], seconds: int) -> list[Cause]:
    causes: list[Cause] = []
    field = "spec.expirationSeconds"
    if seconds < _MIN_SECONDS:
        causes.append(
            Cause(
                "FieldValueInvalid",
                f"Invalid value: {seconds}: may not specify a duration less than 10 minutes",
                field,
            )
        )
    if seconds > _MAX_SECONDS:
        causes.append(
            Cause(
                "FieldValueInvalid",
                f"Invalid value: {seconds}: may not specify a duration larger than 2^32 seconds",
                field,
            )
        )
    return causes
