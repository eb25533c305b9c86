"""JSON Patch (RFC 6902) and JSON merge patch (RFC 7386); strategic merge is in ``strategic``.

All take a stored, immutable object and return a new one that shares what did not change; neither the object
nor the patch is ever changed.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from kubernel.errors import BadRequest, Invalid, RequestEntityTooLarge
from kubernel.objects.go_json import kind_of
from kubernel.registry.strategic import strategic_patch

__all__ = ["MAX_OPERATIONS", "Rejected", "json_patch", "merge_patch", "strategic_patch"]

MAX_OPERATIONS = 10_000
"""As the API server's own limit; a copy operation could double a document each time."""

MAX_COPIED = 3 * 1024 * 1024
"""How many values ``copy`` operations may add up to, so that a small patch cannot make a huge document."""

_REJECTED = "the server rejected our request due to an error in our request"
_INDEX = re.compile("0|-?[1-9][0-9]{0,8}")
_BAD_ESCAPE = re.compile("~(?![01])")
_OPERATIONS = frozenset(["add", "remove", "replace", "move", "copy", "test"])


class Rejected(Invalid):
    """What upstream refuses without a word about why; ``why`` is what its library said."""

    detailed = True
    why = ""


class PatchTestFailed(Rejected):
    """A ``test`` operation found something else."""


def json_patch(obj: Any, ops: Any) -> Any:
    """``obj`` with the operations applied, all or none.

    BadRequest for what is no patch, RequestEntityTooLarge for more than ``MAX_OPERATIONS``, Invalid when an
    operation cannot be applied (a failing ``test``, a missing path).
    """
    if not isinstance(ops, list):
        raise BadRequest("json: cannot unmarshal patch: a JSON patch is an array of operations")
    if len(ops) > MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            "Request entity too large: "
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(ops)}"
        )
    checked = [_checked(op) for op in ops]
    document = _Document(obj)
    for kind, path, source, value in checked:
        try:
            document.apply(kind, path, source, value)
        except Rejected as error:
            error.why = document.problem(kind, path, source)
            raise
    return document.root


def _checked(op: Any) -> tuple[str, list[str], list[str], Any]:
    """(op, parts of path, parts of from, value)"""
    if not isinstance(op, dict) or op.get("op") not in _OPERATIONS:
        if isinstance(op, dict):
            rejected = Rejected(_REJECTED)
            rejected.why = f"Unexpected kind: {op.get('op', 'unknown')}"
            raise rejected
        told = f"json: cannot unmarshal {kind_of(op)} into Go value of type handlers.jsonPatchOp"
        raise BadRequest(f"error decoding patch: {told}")
    kind = op["op"]
    path = _pointer(op, "path")
    return kind, path, _pointer(op, "from") if kind in ("move", "copy") else [], op.get("value")


def _pointer(op: dict[str, Any], member: str) -> list[str]:
    text = op.get(member)
    if not isinstance(text, str):
        raise BadRequest(f"the {op['op']} operation has no valid '{member}' member")
    if text and (text[0] != "/" or _BAD_ESCAPE.search(text)):
        raise BadRequest(
            f"the {op['op']} operation has no valid '{member}' member: \"{text}\" is no JSON pointer"
        )
    parts = text.split("/")[1:]
    return [part.replace("~1", "/").replace("~0", "~") for part in parts] if "~" in text else parts


class _Document:
    """A document in which every container is copied before it is changed for the first time.

    The usual library either changes the document in place or copies all of it beforehand.
    """

    def __init__(self, root: Any) -> None:
        self.root = root
        # The copies themselves, by id: kept alive, so that no id is reused.
        self._own: dict[int, Any] = {}
        self._copied = 0

    def apply(self, kind: str, path: list[str], source: list[str], value: Any) -> None:
        match kind:
            case "test":
                # null is also what there is not.
                absent = value is None and path and self._is_absent(path)
                if not absent and not _same(self._at(path), value):
                    raise PatchTestFailed(_REJECTED)
            case "add":
                self._add(path, value)
            case "remove":
                self._remove(path)
            case "replace":
                self._replace(path, value)
            case "move":
                if path[: len(source)] == source and path != source:
                    raise Rejected(_REJECTED)
                value = self._at(source)
                self._remove(source)
                self._add(path, value)
            case _:
                value = self._copied_value(source)
                self._count(value)
                # From here on what was our own is in two places.
                self._own.clear()
                self._add(path, value)

    def problem(self, kind: str, path: list[str], source: list[str]) -> str:
        """Why an operation could not be applied, as github.com/evanphx/json-patch has it."""
        told = _joined(path)
        if kind in ("move", "copy"):
            if not self._is_there(source[:-1]):
                return f"{kind} operation does not apply: doc is missing from path: {_joined(source)}: missing value"
            if not self._is_there(source):
                key = source[-1] if source else ""
                if kind == "move":
                    return f"error in move for path: '{key}': Unable to remove nonexistent key: {key}: missing value"
                return f"error in copy for from: '{_joined(source)}': {_no_place(key)}"
            return f"{kind} operation does not apply: doc is missing destination path: {told}: missing value"
        if kind == "test":
            if self._is_there(path[:-1]):
                return f"testing value {told} failed: test failed"
            return f"test operation does not apply: is missing path: {told}: missing value"
        if not self._is_there(path[:-1]):
            shown = told if kind == "replace" else f'"{told}"'
            return f"{kind} operation does not apply: doc is missing path: {shown}: missing value"
        if kind == "replace":
            return f"replace operation does not apply: doc is missing key: {told}: missing value"
        return f"error in {kind} for path: '{told}': {_no_place(path[-1] if path else '', kind)}"

    def _is_there(self, parts: list[str]) -> bool:
        try:
            self._at(parts)
        except Rejected:
            return False
        return True

    def _copied_value(self, parts: list[str]) -> Any:
        """null for a member that its object does not have, as upstream's library has it."""
        if not parts:
            return self.root
        parent = self._at(parts[:-1])
        if isinstance(parent, dict):
            return parent.get(parts[-1])
        return parent[_index(parent, parts[-1])]

    def _is_absent(self, parts: list[str]) -> bool:
        parent = self._at(parts[:-1])
        return isinstance(parent, dict) and parts[-1] not in parent

    def _at(self, parts: list[str]) -> Any:
        place = self.root
        for part in parts:
            place = place[_index(place, part)]
        return place

    def _add(self, parts: list[str], value: Any) -> None:
        if not parts:
            self.root = value
            return
        parent = self._unshare(parts)
        if isinstance(parent, list):
            parent.insert(len(parent) if parts[-1] == "-" else _index(parent, parts[-1], end=1), value)
        else:
            parent[_index(parent, parts[-1], new=True)] = value

    def _replace(self, parts: list[str], value: Any) -> None:
        if not parts:
            self.root = value
            return
        parent = self._unshare(parts)
        # Upstream's library adds the member of an object that it does not find.
        parent[_index(parent, parts[-1], new=True)] = value

    def _remove(self, parts: list[str]) -> None:
        if not parts:
            raise Rejected(_REJECTED)
        parent = self._unshare(parts)
        del parent[_index(parent, parts[-1])]

    def _unshare(self, parts: list[str]) -> Any:
        """The container that holds the last part, our own like all above it."""
        place = self.root = self._mine(self.root)
        for part in parts[:-1]:
            index = _index(place, part)
            child = self._mine(place[index])
            place[index] = child
            place = child
        return place

    def _mine(self, container: Any) -> Any:
        if id(container) in self._own or not isinstance(container, dict | list):
            return container
        copy = dict(container) if isinstance(container, dict) else list(container)
        self._own[id(copy)] = copy
        return copy

    def _count(self, value: Any) -> None:
        waiting = [value]
        while waiting:
            each = waiting.pop()
            self._copied += len(each) if isinstance(each, str) else 1
            if self._copied > MAX_COPIED:
                raise RequestEntityTooLarge(
                    f"Request entity is too large: the copy operations exceed {MAX_COPIED} values"
                )
            if isinstance(each, dict):
                waiting.extend(each.values())
            elif isinstance(each, list):
                waiting.extend(each)


def _index(place: Any, part: str, *, new: bool = False, end: int = 0) -> Any:
    """The key or index that ``part`` is in ``place``; Invalid when there is none.

    Negative indexes count from the end, as the API server's library has it.
    """
    if isinstance(place, dict):
        if new or part in place:
            return part
    elif isinstance(place, list) and _INDEX.fullmatch(part):
        index = int(part)
        if -len(place) <= index < len(place) + end:
            return index
    raise Rejected(_REJECTED)


def _joined(parts: list[str]) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _no_place(part: str, kind: str = "") -> str:
    if _INDEX.fullmatch(part):
        return f"Unable to access invalid index: {part}: invalid index referenced"
    return f"Unable to {'remove' if kind == 'remove' else 'access'} nonexistent key: {part}: missing value"


def _same(a: Any, b: Any) -> bool:
    """Equality of JSON values; Python's own takes ``1`` for ``true``."""
    return a == b and orjson.dumps(a, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        b, option=orjson.OPT_SORT_KEYS
    )


def merge_patch(obj: Any, patch: Any) -> Any:
    """``obj`` with a JSON merge patch: null removes a key, maps merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    before = obj if isinstance(obj, dict) else {}
    after: dict[str, Any] | None = None
    for key, value in patch.items():
        if value is None:
            if key in before:
                after = dict(before) if after is None else after
                after.pop(key, None)
            continue
        present = key in before
        old = before.get(key)
        new = merge_patch(old, value) if isinstance(value, dict) else value
        if not present or new is not old:
            after = dict(before) if after is None else after
            after[key] = new
    if after is None:
        return obj if isinstance(obj, dict) else {}
    return after
