"""One request to the registry, as admission, strategies and handlers see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from kubernel.errors import ApiError

if TYPE_CHECKING:
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

__all__ = ["ANONYMOUS", "AUDIT_NOTES", "DeleteOptions", "Request", "UserInfo", "WriteOptions"]

AUDIT_NOTES = "audit-annotations"
"""The key in ``Request.notes`` of the annotations for the audit log: a dict of texts."""


@dataclass(frozen=True, slots=True)
class UserInfo:
    """Who asks: authentication.k8s.io/v1 UserInfo."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What to tell who shows these credentials, in ``Warning:`` headers."""

    def as_dict(self) -> dict[str, Any]:
        info: dict[str, Any] = {"username": self.name}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra.items()}
        return info


ANONYMOUS = UserInfo("system:anonymous", ("system:unauthenticated",))


class WriteOptions(msgspec.Struct, frozen=True):
    """Options of create, update and patch. ``field_manager`` defaults to the User-Agent's first word."""

    dry_run: bool = False
    field_manager: str = "unknown"
    field_validation: Literal["Ignore", "Warn", "Strict"] = "Warn"
    force: bool = False
    repeated: str = ""
    """What YAML says about keys that the body repeats: a refusal where that is Strict."""
    said: tuple[tuple[str, str], ...] = ()
    """``fieldManager`` and ``fieldValidation``, where the client itself gave them: what webhooks are told."""
    notes: dict[str, Any] | None = None
    """Becomes ``Request.notes``: for who wants to read them afterwards."""


class DeleteOptions(msgspec.Struct, frozen=True):
    """metav1.DeleteOptions. ``propagation`` None is the type's default."""

    grace_period: int | None = None
    propagation: Literal["Background", "Foreground", "Orphan"] | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False
    notes: dict[str, Any] | None = None


class Request(msgspec.Struct):
    """One write (or connect) on its way through the pipeline.

    ``verb`` is ``create``, ``update``, ``patch``, ``delete`` or ``connect``; ``operation`` its admission name
    (a patch that creates is ``CREATE``). ``obj`` is the new object, mutable until validation, None for deletion;
    ``old`` the stored one, immutable, None for creation. ``warnings`` become ``Warning:`` headers.
    ``notes`` is scratch space for admission plugins and strategies, keyed by their name.
    """

    user: UserInfo
    verb: str
    type: ResourceType
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    options: WriteOptions = WriteOptions()
    delete_options: DeleteOptions | None = None
    obj: Obj | None = None
    old: Obj | None = None
    warnings: list[str] = msgspec.field(default_factory=list)
    notes: dict[str, Any] = msgspec.field(default_factory=dict)
    spec_valid: bool = False
    """A creation whose very spec was found valid before: rules that look at the spec alone need not be asked again."""
    of_spec: dict[str, Any] | None = None
    """What was found out before about a spec like this one, as admission and defaults left it: a strategy may keep here
    what depends on nothing else. None where specs are not remembered."""
    reinvoke: bool = False
    """An admission plugin changed the object in a way that those before it may have something to say to: all are
    asked a second time, once."""
    reinvoking: bool = False
    """This is the second time."""
    large: bool = False
    """What the object goes through takes so long that it is done beside the loop."""

    def __enter__(self) -> None:
        """For the request's whole way: a refusal takes along what was to be warned of."""

    def __exit__(self, type: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, ApiError):
            error.warnings = tuple(self.warnings)

    def __post_init__(self) -> None:
        options = self.delete_options or self.options
        if options.notes is not None:
            self.notes = options.notes

    @property
    def operation(self) -> Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]:
        if self.verb == "connect":
            return "CONNECT"
        if self.obj is None:
            return "DELETE"
        return "CREATE" if self.old is None else "UPDATE"

    @property
    def dry_run(self) -> bool:
        if self.delete_options is not None:
            return self.delete_options.dry_run
        return self.options.dry_run

    @property
    def resets(self) -> tuple[str, ...]:
        """The fields that the request's endpoint resets: nobody gets to own them through it."""
        told = self.type.strategy.resets.get(self.subresource)
        if told is not None:
            return told
        if self.subresource == "status":
            return ("spec",)
        return ("status",) if not self.subresource and "status" in self.type.subresources else ()

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
