"""Every refusal kubernel can give, in one hierarchy.

    KubernelError
    ├── ApiError                      answers a request; maps 1:1 to a metav1.Status
    │   ├── BadRequest                400
    │   ├── Unauthorized              401
    │   ├── Forbidden                 403
    │   ├── NotFound                  404
    │   ├── MethodNotSupported        405
    │   ├── NotAcceptable             406
    │   ├── AlreadyExists             409  reason AlreadyExists
    │   ├── Conflict                  409  reason Conflict
    │   ├── Expired                   410  reason Expired
    │   ├── RequestEntityTooLarge     413
    │   ├── UnsupportedMediaType      415
    │   ├── Invalid                   422  carries one Cause for each bad field
    │   ├── TooManyRequests           429
    │   ├── InternalError             500
    │   ├── UnnamedError              500  without a reason
    │   ├── ServiceUnavailable        503
    │   └── ServerTimeout             504  reason Timeout
    ├── ConfigError                   the configuration file is wrong; names file and line
    ├── PluginError                   a plugin is missing, duplicate, broken or failed
    └── StoreError                    the storage below cannot be used
        ├── StoreCorrupt              the data failed its integrity check
        └── StoreFull                 no space left; nothing of the refused write was kept

Messages and reasons follow k8s.io/apimachinery/pkg/api/errors (v1.37): clients parse them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = [
    "AlreadyExists",
    "ApiError",
    "BadRequest",
    "Cause",
    "ConfigError",
    "Conflict",
    "Expired",
    "Forbidden",
    "InternalError",
    "Invalid",
    "KubernelError",
    "MethodNotSupported",
    "NotAcceptable",
    "NotFound",
    "PluginError",
    "RequestEntityTooLarge",
    "ServerTimeout",
    "ServiceUnavailable",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "TooManyRequests",
    "Unauthorized",
    "UnnamedError",
    "UnsupportedMediaType",
    "qualified_resource",
]


class KubernelError(Exception):
    """Base of everything kubernel raises on purpose."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason for a refusal, as in ``status.details.causes``.

    ``reason`` is one of the upstream CauseTypes (``FieldValueRequired``, ``FieldValueInvalid``,
    ``FieldValueForbidden``, ``FieldValueNotSupported``, ``FieldValueDuplicate``,
    ``FieldValueTooLong``, ``FieldValueTypeInvalid``, ``FieldManagerConflict`` …), ``field`` a
    path such as ``spec.containers[0].name``. A policy's denial has a message only, a refused resize a reason only.
    """

    reason: str
    message: str
    field: str = ""

    def as_dict(self) -> dict[str, str]:
        entry = {"reason": self.reason} if self.reason else {}
        if self.message:
            entry["message"] = self.message
        if self.field:
            entry["field"] = self.field
        return entry


def qualified_resource(plural: str, group: str) -> str:
    """``deployments.apps`` or ``pods``: how messages name a resource."""
    return f"{plural}.{group}" if group else plural


class ApiError(KubernelError):
    """A request refused with a Status. ``details`` holds name, group, kind, uid, causes, …."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"
    detailed = False
    """Whether the Status has details even when they are empty: upstream's general answers do."""
    warnings: tuple[str, ...] = ()
    """For ``Warning:`` headers beside the Status."""

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        group: str = "",
        kind: str = "",
        uid: str = "",
        causes: tuple[Cause, ...] = (),
        retry_after: int = 0,
        code: int = 0,
        reason: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.name = name
        self.group = group
        self.kind = kind
        self.uid = uid
        self.causes = causes
        self.retry_after = retry_after
        self.metadata = metadata or {}
        # Webhooks and remote servers choose codes and reasons that no subclass has.
        self.status_code = code or type(self).code
        self.status_reason = reason or type(self).reason

    def to_status(self) -> dict[str, Any]:
        """The ``v1.Status`` document for this refusal; its ``code`` is the HTTP code."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "code": self.status_code,
        }
        if self.status_reason:
            status["reason"] = self.status_reason
        details: dict[str, Any] = {}
        for key in ("name", "group", "kind", "uid"):
            value = getattr(self, key)
            if value:
                details[key] = value
        if self.causes:
            details["causes"] = [cause.as_dict() for cause in self.causes]
        if self.retry_after:
            details["retryAfterSeconds"] = self.retry_after
        if details or self.detailed:
            status["details"] = details
        return status

    @classmethod
    def from_status(cls, status: dict[str, Any]) -> ApiError:
        """The error a remote server's Status stands for, as the subclass with its reason."""
        reason = status.get("reason", "")
        code = int(status.get("code", 500))
        details = status.get("details") or {}
        known = _all_subclasses(ApiError)
        kind_of = next((sub for sub in known if reason and sub.reason == reason), None)
        if kind_of is None:
            kind_of = next((sub for sub in known if sub.code == code), ApiError)
        error = ApiError.__new__(kind_of)
        ApiError.__init__(
            error,
            status.get("message", ""),
            name=details.get("name", ""),
            group=details.get("group", ""),
            kind=details.get("kind", ""),
            uid=details.get("uid", ""),
            causes=tuple(
                Cause(c.get("reason", ""), c.get("message", ""), c.get("field", ""))
                for c in details.get("causes") or ()
            ),
            retry_after=int(details.get("retryAfterSeconds", 0)),
            code=code,
            reason=reason,
            metadata=status.get("metadata") or {},
        )
        return error


def _all_subclasses(cls: type[ApiError]) -> list[type[ApiError]]:
    found: list[type[ApiError]] = []
    for sub in cls.__subclasses__():
        found.append(sub)
        found.extend(_all_subclasses(sub))
    return found


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"

    def __init__(self, message: str = "Unauthorized", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)


class Forbidden(ApiError):
    """``pods "x" is forbidden: why``; ``for_object`` builds that message."""

    code, reason = 403, "Forbidden"

    @classmethod
    def for_object(
        cls, plural: str, group: str, name: str, why: str, causes: tuple[Cause, ...] = ()
    ) -> Forbidden:
        what = qualified_resource(plural, group)
        named = f'{what} "{name}" is forbidden' if name else f"{what} is forbidden"
        return cls(f"{named}: {why}", name=name, group=group, kind=plural, causes=causes)


class NotFound(ApiError):
    code, reason = 404, "NotFound"

    @classmethod
    def for_object(cls, plural: str, group: str, name: str) -> NotFound:
        what = qualified_resource(plural, group)
        return cls(f'{what} "{name}" not found', name=name, group=group, kind=plural)

    @classmethod
    def for_path(cls) -> NotFound:
        """No such resource type or path, in upstream's words."""
        error = cls("the server could not find the requested resource")
        error.detailed = True
        return error


class MethodNotSupported(ApiError):
    code, reason = 405, "MethodNotAllowed"

    @classmethod
    def for_path(cls) -> MethodNotSupported:
        """No handler of this method there."""
        error = cls("the server does not allow this method on the requested resource")
        error.detailed = True
        return error

    @classmethod
    def for_verb(cls, plural: str, group: str, verb: str) -> MethodNotSupported:
        what = qualified_resource(plural, group)
        return cls(f'{verb} is not supported on resources of kind "{what}"', group=group, kind=plural)


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"

    @classmethod
    def for_object(cls, plural: str, group: str, name: str) -> AlreadyExists:
        what = qualified_resource(plural, group)
        return cls(f'{what} "{name}" already exists', name=name, group=group, kind=plural)


class Conflict(ApiError):
    code, reason = 409, "Conflict"

    STALE: ClassVar[str] = (
        "the object has been modified; please apply your changes to the latest version and try again"
    )

    @classmethod
    def for_object(
        cls, plural: str, group: str, name: str, why: str = "", causes: tuple[Cause, ...] = ()
    ) -> Conflict:
        what = qualified_resource(plural, group)
        return cls(
            f'Operation cannot be fulfilled on {what} "{name}": {why or cls.STALE}',
            name=name,
            group=group,
            kind=plural,
            causes=causes,
        )


class Expired(ApiError):
    code, reason = 410, "Expired"


class RequestEntityTooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    """An object whose fields break rules; one Cause a field."""

    code, reason = 422, "Invalid"
    MOST: ClassVar[int] = 25_000
    """Upstream tells as many; where there are ten times more it does not come to the end of it in time."""

    @classmethod
    def for_object(cls, kind: str, group: str, name: str, causes: list[Cause]) -> Invalid:
        """``Pod "x" is invalid: [field: message, …]``; ``kind`` is the Kind, as upstream has it. Of more than
        ``MOST`` causes the first are told."""
        del causes[cls.MOST :]
        what = qualified_resource(kind, group)
        texts = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
        unique = list(dict.fromkeys(texts))
        told = unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
        return cls(
            f'{what} "{name}" is invalid: {told}',
            name=name,
            group=group,
            kind=kind,
            causes=tuple(dict.fromkeys(causes)),  # the schema and the strategy may say the same
        )


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"

    @classmethod
    def because(cls, what: str) -> InternalError:
        """As upstream words what went wrong on its own side."""
        return cls(f"Internal error occurred: {what}", causes=(Cause("", what),))


class UnnamedError(ApiError):
    """What upstream answers with an error of Go's that it has no Status for."""

    code, reason = 500, ""


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class ServerTimeout(ApiError):
    code, reason = 504, "Timeout"
    detailed = True


class ConfigError(KubernelError):
    """The configuration is wrong. The message names the file, the line and what to write."""


class PluginError(KubernelError):
    """A plugin cannot be found, loaded or run. The message names group, plugin, distribution."""


class StoreError(KubernelError):
    """The storage below cannot be used; nothing of a refused write was kept."""


class StoreCorrupt(StoreError):
    """The stored data failed its integrity check at open."""


class StoreFull(StoreError):
    """No space left on the device."""
