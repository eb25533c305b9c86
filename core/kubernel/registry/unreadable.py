"""Stored objects that cannot be had in the version that is asked for: how each kind of request says so.

Source: k8s.io/apiserver/pkg/storage/etcd3/{errors,corrupt_obj_deleter}.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubernel.errors import ApiError, Cause, InternalError, UnnamedError

if TYPE_CHECKING:
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Record

__all__ = ["Unreadable"]

_MOST = 100
"""Causes of a list's refusal."""
_CAUSE = "UnexpectedServerResponse"


class Unreadable(UnnamedError):
    """What was found about records, each with why; the message is what a write of the first is answered with."""

    def __init__(self, found: Sequence[tuple[Record, str]]) -> None:
        super().__init__(_not_decodable(*found[0]))
        self.found = found

    def of_get(self) -> InternalError:
        return InternalError.because(_corrupt(*self.found[0], ""))

    def of_list(self, type: ResourceType) -> ApiError:
        resource = f"{type.plural}.{type.group}" if type.group else type.plural
        told = [_corrupt(record, why, "/registry") for record, why in self.found[:_MOST]]
        causes = [
            Cause(_CAUSE, text, f"/registry{_path(record)}")
            for (record, _), text in zip(self.found, told, strict=False)
        ]
        more = len(told) - 1
        if len(self.found) > _MOST:
            causes.append(Cause("FieldValueTooMany", "too many errors, the list is truncated"))
        return ApiError(
            f"failed to read one or more {resource} from the storage: {told[0]}"
            + (f" (and {more} more)" if more else ""),
            name="list",
            group=type.group,
            kind=type.plural,
            causes=tuple(causes),
            code=500,
            reason="StorageReadError",
        )


def _path(record: Record) -> str:
    plural, _, group = record.key.resource.partition(".")
    parts = (group, plural, record.key.namespace, record.key.name)
    return "".join(f"/{part}" for part in parts if part)


def _not_decodable(record: Record, why: str) -> str:
    return f"object not decodable revision={record.revision}: {why}"


def _corrupt(record: Record, why: str, prefix: str) -> str:
    return (
        f"StorageError: corrupt object, Code: 7, Key: {prefix}{_path(record)}, ResourceVersion: 0, "
        f"AdditionalErrorMsg: {_not_decodable(record, why)}"
    )
