"""What kube-apiserver v1.37.0 answered to sequences of requests: options, preconditions, lists, patches, owners.

``recorded/*.json`` are the sequences; a step with ``until`` is repeated until it has that code. Steps without an
answer are there for what they leave behind, or differ on purpose. What no two servers have in common (uids, times,
resource versions) is masked.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubernel.testing import Cluster

RECORDED = Path(__file__).parent / "recorded"
UID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"')
REVISION = re.compile(r"(in record|current:) \(?\d+\)?")
MASKED = {
    "uid",
    "creationTimestamp",
    "time",
    "deletionTimestamp",
    "lastTransitionTime",
    "lastUpdateTime",
}
MASKED_IF_THERE = ("resourceVersion", "continue")
CLUSTERS: dict[str, dict[str, Any]] = {
    "admission": {"controller": ["bootstrap"], "node": None, "scheduler": None},
}
"""Plugins beside those by default and the controller of definitions, by the name of the sequence."""
LEFT_OUT: dict[str, frozenset[str]] = {
    "admission": frozenset(("managedFields", "username", "groups", "extra", "uid")),
}
"""Fields that a sequence is not about: who the administrator is, who manages what."""


@cache
def steps(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((RECORDED / f"{name}.json").read_text())
    return found


def compared() -> Iterator[Any]:
    for path in sorted(RECORDED.glob("*.json")):
        for index, step in enumerate(steps(path.stem)):
            if "code" in step:
                yield pytest.param(path.stem, index, id=f"{path.stem}: {step['id']}")


def mask(value: Any) -> None:
    if isinstance(value, list):
        for each in value:
            mask(each)
    elif isinstance(value, dict):
        if isinstance(value.get("managedFields"), list):
            value["managedFields"].sort(
                key=lambda entry: tuple(
                    entry.get(key) or "" for key in ("manager", "operation", "subresource")
                )
            )
        for key in value:
            if key in MASKED or (key in MASKED_IF_THERE and value[key] != ""):
                value[key] = "*"
            else:
                mask(value[key])


def without(value: Any, keys: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {key: without(each, keys) for key, each in value.items() if key not in keys}
    return [without(each, keys) for each in value] if isinstance(value, list) else value


def masked(document: Any) -> Any:
    mask(document)
    text = REVISION.sub(r"\1 N", TIME.sub('"T"', UID.sub("U", json.dumps(document))))
    return json.loads(text)


def replay(name: str) -> list[tuple[int, Any, list[str], str]]:
    plugins = {"controller": ["customresources"], **CLUSTERS.get(name, {})}
    with Cluster({"plugins": plugins}, https=True) as cluster:
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        user, base = config["users"][0]["user"], config["clusters"][0]["cluster"]["server"]
        context = ssl._create_unverified_context()
        with tempfile.NamedTemporaryFile() as file:
            for key in ("client-certificate-data", "client-key-data"):
                file.write(base64.b64decode(user[key]) + b"\n")
            file.flush()
            context.load_cert_chain(file.name)
        return [reached(base, context, step) for step in steps(name)]


def reached(base: str, context: ssl.SSLContext, step: dict[str, Any]) -> tuple[int, Any, list[str], str]:
    """The answer, of a step that says so the first with the code ``until``."""
    for _ in range(1000):
        found = answer(base, context, step)
        if found[0] == step.get("until", found[0]):
            return found
    raise AssertionError(f"{step['id']}: still {found[0]}")


def impersonation(step: dict[str, Any]) -> dict[str, str]:
    """The headers of a step that somebody else than the administrator takes: ``"as": [user, group?]``."""
    if "as" not in step:
        return {}
    user, *group = step["as"]
    return {"Impersonate-User": user, **({"Impersonate-Group": group[0]} if group else {})}


def answer(base: str, context: ssl.SSLContext, step: dict[str, Any]) -> tuple[int, Any, list[str], str]:
    data = step["text"].encode() if "text" in step else None
    if "body" in step:
        data = json.dumps(step["body"]).encode()
    headers = {
        "Content-Type": step.get("type", "application/json"),
        "Accept": step.get("accept", "application/json"),
        "User-Agent": "Python-urllib/3.11",
        **impersonation(step),
    }
    request = urllib.request.Request(base + step["path"], method=step["method"], data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as reply:
            code, body, sent = reply.status, reply.read(), reply.headers
    except urllib.error.HTTPError as error:
        code, body, sent = error.code, error.read(), error.headers
    try:
        document = masked(json.loads(body))
    except ValueError:
        document = body.decode()
    media = (sent.get("Content-Type") or "").partition(";")[0]
    return code, document, sent.get_all("Warning") or [], media


answers = cache(replay)


@pytest.mark.parametrize(("name", "index"), list(compared()))
def test_the_answer_is_that_of_upstream(name: str, index: int) -> None:
    step = steps(name)[index]
    code, document, warnings, media = answers(name)[index]
    left_out = LEFT_OUT.get(name, frozenset())
    assert without(document, left_out) == without(masked(step["answer"]), left_out)
    assert (code, warnings, media) == (step["code"], step["warnings"], step["media"])
