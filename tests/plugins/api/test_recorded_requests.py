"""What kube-apiserver v1.37.0 answered to sequences of requests: options, preconditions, lists, patches, owners.

``recorded/*.json`` are the sequences; a step with ``until`` is repeated until it has that code. Steps without an
answer are there for what they leave behind, or differ on purpose. What no two servers have in common (uids, times,
resource versions) is masked. A step that is to ``keep`` its answer gives it a name, and ``$(name:path/in/it)`` stands
for a part of it in later ones; of ``brief`` ones only the names of the objects, or a Table's columns, are compared.
Bodies of watches are lists of events; watches that follow each other are asked for at the same time. In sequences
with a conversion webhook ``hook`` is kept from the beginning: where it is, and whom to trust.
"""

from __future__ import annotations

import base64
import copy
import json
import re
import ssl
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from functools import cache, partial
from http.client import HTTPSConnection
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml
from conversion_hook import converted
from webhook_kit import WebhookServer

from kubernel.config.configuration import DEFAULT_PLUGINS
from kubernel.testing import Cluster

RECORDED = Path(__file__).parent / "recorded"
UID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"')
REVISION = re.compile(r"(in record|current:|old resource version:|revision=) ?\(?\d+\)?( \(\d+\))?")
PRINTED = re.compile(r'(resourceVersion\\+":\\+")\d+')
PRINTED_TIME = re.compile(r'(\\+")\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ')
HOOK = re.compile(r"127\.0\.0\.1:\d{5}")
AGE = re.compile(r"^(\d+[smhd])+$")
PLACE = re.compile(r"\$\((\w+):([^)]*)\)")
MASKED = {
    "uid",
    "creationTimestamp",
    "time",
    "deletionTimestamp",
    "lastTransitionTime",
    "lastUpdateTime",
}
MASKED_IF_THERE = ("resourceVersion", "continue")
_NO_ACCOUNTS = {"admission": [name for name in DEFAULT_PLUGINS["admission"] if name != "serviceaccount"]}
CLUSTERS: dict[str, dict[str, Any]] = {
    "answers": _NO_ACCOUNTS,
    "kinds": _NO_ACCOUNTS,
    "writes": _NO_ACCOUNTS,
    "apply": {**_NO_ACCOUNTS, "node": None, "scheduler": None},
    "patches_generated": {**_NO_ACCOUNTS, "node": None, "scheduler": None},
    "types_writes": {**_NO_ACCOUNTS, "node": None, "scheduler": None},
    "admission": {"controller": ["bootstrap"], "node": None, "scheduler": None},
    "warnings": {**_NO_ACCOUNTS, "controller": ["bootstrap"], "node": None, "scheduler": None},
    "policies": {**_NO_ACCOUNTS, "controller": ["bootstrap"], "node": None, "scheduler": None},
}
"""Plugins beside those by default and the controller of definitions, by the name of the sequence."""
HOOKED = frozenset(("conversion",))
"""Sequences with a conversion webhook."""
LEFT_OUT: dict[str, frozenset[str]] = {
    "admission": frozenset(("managedFields", "username", "groups", "extra", "uid")),
    "types_writes": frozenset(("managedFields",)),
    "conversion": frozenset(("managedFields",)),
    "definitions": frozenset(("managedFields",)),
    "policies": frozenset(("managedFields",)),
    "warnings": frozenset(("managedFields", "clusterIP", "clusterIPs", "nodePort")),
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
        if isinstance(value.get("causes"), list):
            # The conflicts with several managers come in any order.
            conflicts = {cause.get("reason") for cause in value["causes"]} == {"FieldManagerConflict"}
            value["causes"].sort(key=lambda cause: (cause["message"], cause["field"]) if conflicts else ())
        if {"priority", "format"} <= value.keys():
            value.pop("description", None)  # of a column: told in our own words
        if isinstance(value.get("cells"), list):
            value["cells"] = [
                AGE.sub("AGE", cell) if isinstance(cell, str) else cell for cell in value["cells"]
            ]
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
    text = PRINTED_TIME.sub(r"\1T", json.dumps(document))
    text = PRINTED.sub(r"\1N", UID.sub("U", text))
    text = HOOK.sub("HOOK", REVISION.sub(r"\1 N", TIME.sub('"T"', text)))
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
        kept: dict[str, Any] = {}
        base = base.removeprefix("https://")
        with (
            hooked(name, kept),
            ThreadPoolExecutor(16) as threads,
            closing(HTTPSConnection(base, context=context, timeout=30)) as shared,
        ):
            ask = partial(reached, base, context, shared, kept)
            answers: list[tuple[int, Any, list[str], str]] = []
            for together, group in groupby(steps(name), lasting):
                each: Callable[..., Any] = threads.map if together else map
                answers += each(ask, group)
            return answers


@contextmanager
def hooked(name: str, kept: dict[str, Any]) -> Iterator[None]:
    if name not in HOOKED:
        yield
        return
    with tempfile.TemporaryDirectory() as directory:
        hook = WebhookServer(Path(directory))
        hook.raw["/convert"] = converted
        kept["hook"] = {"url": f"https://127.0.0.1:{hook.port}", "ca": hook.ca}
        try:
            yield
        finally:
            hook.stop()


def reached(
    base: str, context: ssl.SSLContext, shared: HTTPSConnection, kept: dict[str, Any], step: dict[str, Any]
) -> tuple[int, Any, list[str], str]:
    """The answer, of a step that says so the first with the code ``until``."""
    for _ in range(1000):
        found = answer(base, context, shared, kept, step)
        if found[0] == step.get("until", found[0]):
            return found
    raise AssertionError(f"{step['id']}: still {found[0]}")


def filled(value: Any, kept: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: filled(item, kept) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, kept) for item in value]
    return PLACE.sub(lambda place: part(kept[place[1]], place[2]), value) if isinstance(value, str) else value


def part(document: Any, path: str) -> str:
    for key in path.split("/"):
        document = document[int(key)] if isinstance(document, list) else document[key]
    return str(document)


def events(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def names(document: Any) -> Any:
    if isinstance(document, list):
        return [
            event
            if event["type"] in ("BOOKMARK", "ERROR")
            else f"{event['type']} {event['object'].get('metadata', {}).get('name', '')}"
            for event in document
        ]
    if document["kind"] == "Table":
        return {"columns": document["columnDefinitions"]}
    if "items" not in document:
        return document
    return {**document, "items": [item["metadata"]["name"] for item in document["items"]]}


def lasting(step: dict[str, Any]) -> bool:
    return "timeoutSeconds=1" in step["path"]


def answer(
    base: str, context: ssl.SSLContext, shared: HTTPSConnection, kept: dict[str, Any], asked: dict[str, Any]
) -> tuple[int, Any, list[str], str]:
    step = {key: filled(value, kept) for key, value in asked.items() if key != "answer"}
    data = step["text"].encode() if "text" in step else None
    if "body" in step:
        data = json.dumps(step["body"]).encode()
    headers = {
        "Content-Type": step.get("type", "application/json"),
        "Accept": step.get("accept", "application/json"),
        "User-Agent": "Python-urllib/3.11",
        **step.get("headers", {}),
    }
    line = (step["method"], step["path"], data, headers)
    with (
        closing(HTTPSConnection(base, context=context, timeout=30))
        if lasting(step)
        else nullcontext(shared) as connection
    ):
        connection.request(*line)
        reply = connection.getresponse()
        code, body, sent = reply.status, reply.read(), reply.headers
    text = body.decode(errors="replace")
    try:
        document = events(text) if text.startswith('{"type"') else json.loads(text)
    except ValueError:
        document = text
    else:
        if "keep" in step:
            kept[step["keep"]] = copy.deepcopy(document)
        document = masked(document)
        if step.get("brief"):
            document = names(document)
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
