"""A conversion webhook that does what its objects say: ``spec.mode`` names what is wrong with the answer."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

Obj = dict[str, Any]


def renamed(obj: Obj, wanted: str) -> Obj:
    """v1 says ``a`` where v2 says ``c``."""
    old, new = ("a", "c") if wanted.endswith("v2") else ("c", "a")
    made = {**copy.deepcopy(obj), "apiVersion": wanted}
    spec = made.get("spec")
    if isinstance(spec, dict) and old in spec:
        spec[new] = spec.pop(old)
    return made


def _meta(**change: Any) -> Callable[[Obj], Any]:
    return lambda obj: {**obj, "metadata": {**obj["metadata"], **change}}


def _with(**change: Any) -> Callable[[Obj], Any]:
    return lambda obj: {**obj, **change}


def _without(*keys: str) -> Callable[[Obj], Any]:
    return lambda obj: {key: value for key, value in obj.items() if key not in keys}


def _less(key: str) -> Callable[[Obj], Any]:
    return lambda obj: {
        **obj,
        "metadata": {one: obj["metadata"][one] for one in obj["metadata"] if one != key},
    }


OBJECTS: dict[str, Callable[[Obj], Any]] = {
    "other-version": _with(apiVersion="ex.com/v9"),
    "other-group": _with(apiVersion="other.com/v2"),
    "no-version": _without("apiVersion"),
    "version-number": _with(apiVersion=2),
    "other-kind": _with(kind="Other"),
    "no-kind": _without("kind"),
    "list-kind": _with(kind="ThingList", items=[]),
    "no-metadata": _without("metadata"),
    "null-metadata": _with(metadata=None),
    "text-metadata": _with(metadata="x"),
    "other-name": _meta(name="other"),
    "no-name": _less("name"),
    "other-namespace": _meta(namespace="other"),
    "other-uid": _meta(uid="other"),
    "no-uid": _less("uid"),
    "label-number": _meta(labels={"a": 1}),
    "label-null": _meta(labels={"a": None}),
    "label-map": _meta(labels={"a": {}}),
    "label-list": _meta(labels={"a": ["x"]}),
    "label-bool": _meta(labels={"a": True}),
    "label-float": _meta(labels={"a": 1.5}),
    "labels-text": _meta(labels="x"),
    "labels-list": _meta(labels=[]),
    "labels-number": _meta(labels=3),
    "labels-null": _meta(labels=None),
    "labels-new": _meta(labels={"new": "yes"}),
    "label-bad": _meta(labels={"a b": "c d"}),
    "label-bad-two": _meta(labels={"a b": "c", "x": "c d"}),
    "annotations-new": _meta(annotations={"note": "any text"}),
    "annotation-number": _meta(annotations={"a": 1}),
    "annotation-bad": _meta(annotations={"a b": "c"}),
    "annotations-text": _meta(annotations="x"),
    "more-metadata": _meta(finalizers=["x/y"], generation=99, resourceVersion="1", creationTimestamp=None),
    "unknown-metadata": _meta(foo="bar"),
    "unknown-fields": lambda obj: {**obj, "more": 1, "spec": {**obj["spec"], "more": 2}},
    "wrong-types": lambda obj: {**obj, "spec": {**obj["spec"], "c": 7}},
    "spec-text": _with(spec="text"),
    "spec-gone": _without("spec"),
    "status-made": _with(status={"seen": 5}),
    "null": lambda obj: None,
    "text": lambda obj: "text",
    "number": lambda obj: 7,
    "array": lambda obj: [],
    "empty": lambda obj: {},
}
"""What becomes of a converted object, by the mode."""


def _result(**result: Any) -> Callable[[Obj], Any]:
    return lambda answer: {
        **answer,
        "response": {**answer["response"], "result": result, "convertedObjects": []},
    }


def _response(**change: Any) -> Callable[[Obj], Any]:
    return lambda answer: {**answer, "response": {**answer["response"], **change}}


def _lacks(*keys: str) -> Callable[[Obj], Any]:
    return lambda answer: {
        **answer,
        "response": {key: value for key, value in answer["response"].items() if key not in keys},
    }


ANSWERS: dict[str, Callable[[Obj], Any]] = {
    "refused": _result(status="Failure", message="cannot do that"),
    "refused-plain": _result(status="Failure"),
    "refused-empty": _result(),
    "refused-odd": _result(status="Odd", message=""),
    "refused-reason": _result(status="Failure", message="not today", reason="Invalid", code=422),
    "result-text": _response(result="Success"),
    "result-null": _response(result=None),
    "result-gone": _lacks("result"),
    "uid-wrong": _response(uid="wrong"),
    "uid-gone": _lacks("uid"),
    "uid-number": _response(uid=5),
    "too-few": _response(convertedObjects=[]),
    "objects-null": _response(convertedObjects=None),
    "objects-gone": _lacks("convertedObjects"),
    "objects-map": _response(convertedObjects={}),
    "too-many": lambda answer: _response(convertedObjects=answer["response"]["convertedObjects"] * 2)(answer),
    "reversed": lambda answer: _response(convertedObjects=answer["response"]["convertedObjects"][::-1])(
        answer
    ),
    "no-response": lambda answer: {key: answer[key] for key in answer if key != "response"},
    "null-response": lambda answer: {**answer, "response": None},
    "text-response": lambda answer: {**answer, "response": "x"},
    "review-v1beta1": _with(apiVersion="apiextensions.k8s.io/v1beta1"),
    "review-v9": _with(apiVersion="apiextensions.k8s.io/v9"),
    "review-group": _with(apiVersion="other.io/v1"),
    "review-kind": _with(kind="Review"),
    "review-no-kind": _without("kind"),
    "review-no-version": _without("apiVersion"),
    "review-more": _with(more={"x": 1}),
    "review-array": lambda answer: [],
    "review-null": lambda answer: None,
}
"""What becomes of the whole answer, by the mode."""


def _status(code: int, reason: str) -> bytes:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "told so"}
    return json.dumps({**status, "reason": reason, "code": code}).encode()


TEXT, JSON = "text/plain", "application/json"
RAW: dict[str, tuple[int, bytes, str]] = {
    "raw-empty": (200, b"", JSON),
    "raw-text": (200, b"hello", TEXT),
    "raw-broken": (200, b'{"kind": "ConversionReview", ', JSON),
    "code-400": (400, b"bad thing", TEXT),
    "code-404": (404, b"404 page not found\n", TEXT),
    "code-403": (403, b"", JSON),
    "code-403-text": (403, b"not you", TEXT),
    "code-500": (500, b"oh no", TEXT),
    "code-500-empty": (500, b"", TEXT),
    "code-503": (503, b"later", TEXT),
    "code-500-status": (500, _status(500, "Odd"), JSON),
    "code-422-status": (422, _status(422, "Invalid"), JSON),
    "code-200-status": (200, _status(500, "Odd"), JSON),
    "code-204": (204, b"", JSON),
    "code-301": (301, b"", JSON),
}
"""Code, body and media type of answers that are no review."""


def converted(review: Obj) -> tuple[int, bytes, str]:
    """The answer to a ConversionReview: code, body, media type."""
    request = review["request"]
    wanted = request["desiredAPIVersion"]
    modes = [
        spec.get("mode", "")
        for obj in request["objects"]
        for spec in [obj.get("spec")]
        if isinstance(spec, dict)
    ]
    for mode in modes:
        if mode in RAW and wanted.endswith("v2"):
            return RAW[mode]
    objects: list[Any] = []
    for obj in request["objects"]:
        made: Any = renamed(obj, wanted)
        spec = obj.get("spec")
        mode = spec.get("mode", "") if isinstance(spec, dict) else ""
        direction = mode.removeprefix("in:")
        if direction in OBJECTS and (mode.startswith("in:") != wanted.endswith("v2")):
            made = OBJECTS[direction](made)
        objects.append(made)
    response = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects}
    answer: Any = {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}
    for mode in modes:
        if mode in ANSWERS and wanted.endswith("v2"):
            answer = ANSWERS[mode](answer)
    # The bytes of an object without a kind are told as they are.
    return 200, json.dumps(answer, separators=(",", ":")).encode(), JSON
