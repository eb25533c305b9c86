"""From a decoded body to an object of the type: unknown and duplicate fields, by validation mode.

Source: k8s.io/apiserver/pkg/endpoints/handlers/{create,update,patch}.go, field validation
(KEP-2885): Strict refuses, Warn answers with ``Warning`` headers, Ignore is silent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kubernel.errors import BadRequest, Cause, Invalid
from kubernel.registry.causes import invalid
from kubernel.registry.duplicates import duplicate_fields, may_repeat
from kubernel.registry.pruning import decode_check

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.registry.schema import Node
    from kubernel.registry.types import GroupVersionKind
    from kubernel.store.records import Obj

__all__ = ["decode", "not_patched"]


def decode(
    request: Request,
    node: Node,
    obj: Obj,
    raw: bytes | None,
    *,
    patch: bool = False,
    patched: Callable[[], str] | None = None,
    kind: GroupVersionKind | None = None,
    before: Sequence[str] = (),
    apart: bytes = b"",
) -> bool:
    """Normalise ``obj`` in place to what the type's schema knows; whether it had no field that is not known.

    Unknown fields are dropped; how they are told is the request's ``field_validation``. ``raw`` is the JSON
    body that ``obj`` was decoded from, in which duplicate fields are looked for. ``kind`` is the body's, where it
    is not the type's. ``patched`` prints what a patch made, or the patch, for a refusal; ``before`` are the
    problems of the patch itself. ``apart`` is the JSON of a field that was taken out, for it is known. Raises
    BadRequest (for what a patch made Invalid) in upstream's words;
    Undecodable for wrong types.
    """
    type = kind or request.type
    mode = request.options.field_validation
    repeated = raw if raw is not None and mode != "Ignore" and may_repeat(raw, obj, apart) else None
    unknown = decode_check(node, obj, kind=type.kind, version=type.version)
    if mode == "Ignore":
        return not unknown
    if request.type.custom:
        # Two decoders, one after the other: the second, which prunes, tells what it drops by the alphabet, and
        # what it drops of the metadata of objects within objects after that.
        unknown.sort(key=lambda told: (not told.startswith(_IN_METADATA), ".metadata." in told, told))
        problems = [*duplicate_fields(repeated), *unknown] if repeated is not None else unknown
    else:
        problems = [*unknown, *duplicate_fields(repeated)] if repeated is not None else unknown
    if mode == "Strict" and request.options.repeated and not patch:
        before = (request.options.repeated,)
    if before:
        problems = [*before, *problems]
    if not problems:
        return True
    if mode == "Warn":
        for problem in problems:
            request.warn(problem)
        return not unknown
    text = f"strict decoding error: {', '.join(problems)}"
    if patched is not None:
        raise not_patched(patched(), text)
    if patch:
        cause = Cause("FieldValueInvalid", f"Invalid value: {text}", "patch")
        raise Invalid.for_object("", "", "", [cause])
    raise BadRequest(f'{type.kind} in version "{type.version}" cannot be handled as a {type.kind}: {text}')


_IN_METADATA = 'unknown field "metadata.'


def not_patched(patched: str, why: str) -> Invalid:
    """The refusal of a patch whose result is no object of the type."""
    return Invalid.for_object("", "", "", [invalid("patch", patched, why)])
