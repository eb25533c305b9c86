"""The quick look: is this object exactly as it should be?

Most objects that are written are: known fields, right types, canonical scalars, nothing missing. msgspec
checks that in C, four times as fast as the walkers in ``pruning`` and ``validation``, with types made from
the native nodes. It only ever says yes or "look closer": what is wrong, and what to do about it, is the
walkers' business, so a type may be stricter than the rules but never laxer.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Union

import msgspec

from kubernel.registry.scalars import canonical_bytes
from kubernel.registry.schema import MAX_DEPTH, Node, must_have

__all__ = ["conforms"]

HOT = 8
"""Looks at a type before its msgspec type is made: that takes some milliseconds, and most are hardly used."""

_FREE_DEPTH = MAX_DEPTH // 2
"""What free-form fields may nest without a closer look; they stand at some depth themselves."""

_CONTAINERS = (dict, list)
_INT32 = Annotated[int, msgspec.Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
_DAY = (
    r"[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
)
_CANONICAL: Final[dict[str, Any]] = {
    "quantity": Annotated[
        str, msgspec.Meta(pattern=r"\A(?:0|[1-9][0-9]{0,2}(?:[mkMGT]|[KMGT]i)?)\Z", max_length=5)
    ],
    "time": Annotated[str, msgspec.Meta(pattern=rf"\A{_DAY}Z\Z")],
    "microtime": Annotated[str, msgspec.Meta(pattern=rf"\A{_DAY}\.[0-9]{{6}}Z\Z")],
    "int-or-string": Union[_INT32, str],  # noqa: UP007 - made of Annotated
    "boolean": bool,
    "number": float,
}
_LENGTHS = (("minLength", "min_length"), ("maxLength", "max_length"))
_ITEMS = (("minItems", "min_length"), ("maxItems", "max_length"))
_EXPRESSED = frozenset(("minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "pattern"))
_RULES = _EXPRESSED | {"uniqueItems"}


class _Free:
    """Any JSON object or list that does not nest too deeply."""


class _Base64:
    """Bytes in canonical form, at least one."""


class _True:
    """A boolean that is not there when it is false."""


class _Closer:
    """Whatever msgspec cannot tell."""


_FREE, _BASE64, _TRUE = _Free(), _Base64(), _True()


def _decoding(type: type, value: Any) -> Any:
    if type is not _Free:
        return _decoded(type, value)
    if isinstance(value, dict):
        level: list[Any] = [value]
        for _ in range(_FREE_DEPTH):
            # Most of what is free-form are field sets, and most of these are empty.
            level = [
                item
                for one in level
                for item in (one.values() if isinstance(one, dict) else one)
                if item and isinstance(item, _CONTAINERS)
            ]
            if not level:
                return _FREE
    raise ValueError


def _decoded(type: type, value: Any) -> Any:
    if type is _Base64 and value and isinstance(value, str) and canonical_bytes(value) == value:
        return _BASE64
    if type is _True and value is True:
        return _TRUE
    if type is _Free and isinstance(value, dict):
        return _FREE
    raise ValueError


def conforms(node: Node, obj: Any, *, decoded: bool = False) -> bool:
    """Whether decoding would change nothing and validation complain about nothing; False is "maybe".

    ``decoded``: how deeply free-form fields nest has been looked at already.
    """
    owner = node.shared or node
    plans = owner.plans
    if plans is None:
        plans = owner.plans = {}
    state = plans.get("conforms", 0)
    if state.__class__ is int:
        if state < HOT or not owner.native:
            plans["conforms"] = min(state + 1, HOT)
            return False
        state = _struct(owner, lenient=False, top=True) if owner.properties is not None else _Closer
        plans["conforms"] = state
    try:
        msgspec.convert(obj, state, dec_hook=_decoded if decoded else _decoding)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True


def _struct(node: Node, *, lenient: bool, top: bool = False) -> Any:
    """``lenient``: below status, where nothing is required."""
    owner = node.shared or node
    plans = owner.plans
    if plans is None:
        plans = owner.plans = {}
    key = "struct, lenient" if lenient else "struct"
    if key in plans:
        return plans[key]
    plans[key] = _Closer  # recursive types have no limit of depth in msgspec
    must = () if lenient else must_have(owner)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for index, (name, field) in enumerate((owner.properties or {}).items()):
        filled = name in must or name in owner.omits
        type_ = _type(field, lenient=lenient or (top and name == "status"), filled=filled)
        if name not in must and type_ is not _Closer and name in owner.zeros and owner.zeros[name] is None:
            type_ = type_ | None
        fields.append((f"f{index}", type_) if name in must else (f"f{index}", type_, msgspec.UNSET))
    made = plans[key] = msgspec.defstruct(
        "Fields",
        fields,
        rename={f"f{index}": name for index, name in enumerate(owner.properties or ())},
        kw_only=True,
        forbid_unknown_fields=True,
        gc=False,
    )
    return made


def _type(node: Node, *, lenient: bool, filled: bool = False) -> Any:
    """The msgspec type of a field; ``filled``: it must not be empty."""
    if not node.native:
        return _Closer
    type_ = node.type
    extra = node.extra or {}
    if not extra.keys() & _RULES <= _EXPRESSED:
        return _Closer
    if type_ == "object":
        if node.properties is not None:
            return _struct(node, lenient=lenient)
        if node.additional is not None:
            members: Any = dict[str, _type(node.additional, lenient=lenient)]  # type: ignore[misc]
            return Annotated[members, msgspec.Meta(min_length=1)] if filled else members
        return _Free
    if type_ == "array":
        if node.items is None:
            return _Closer
        return _limited(list[_type(node.items, lenient=lenient)], extra, _ITEMS, filled)  # type: ignore[misc]
    if type_ == "string":
        if node.format == "byte":
            return _Base64
        if node.enum:
            enum = tuple(one for one in node.enum if one) if filled else node.enum
            return Literal[enum] if all(isinstance(one, str) for one in enum) else _Closer
        return _limited(str, extra, _LENGTHS, filled)
    if type_ == "integer":
        if node.enum:
            return _Closer
        half = 1 << (31 if node.format == "int32" else 63)
        least, most = extra.get("minimum", -half), extra.get("maximum", half - 1)
        if not isinstance(least, int) or not isinstance(most, int):
            return _Closer
        return Annotated[int, msgspec.Meta(ge=max(least, 1 if filled else -half), le=min(most, half - 1))]
    if node.enum or extra.keys() & _RULES or (filled and type_ == "number"):
        return _Closer
    if filled and type_ == "boolean":
        return _True
    return _CANONICAL.get(type_, _Closer)


def _limited(base: Any, extra: dict[str, Any], names: tuple[tuple[str, str], ...], filled: bool) -> Any:
    limits = {ours: extra[keyword] for keyword, ours in names if keyword in extra}
    if filled:
        limits["min_length"] = max(1, limits.get("min_length", 1))
    if "pattern" in extra and base is str:
        limits["pattern"] = extra["pattern"]
    return Annotated[base, msgspec.Meta(**limits)] if limits else base
