"""The OpenAPI documents are those of a kube-apiserver, by summaries recorded from one.

A summary has a short hash of each path item, schema and parameter (OpenAPI 2), and of each group version's paths
and schemas (OpenAPI 3). Left out is what a Quantity and an IntOrString are in words.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubernel.registry.openapi import OpenAPI
from kubernel.registry.types import ResourceType
from kubernel_plugins.api.builtin import _schemas
from kubernel_plugins.api.builtin.context import Context
from kubernel_plugins.api.builtin.registration import resource_types

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded_openapi.json").read_text())
IN_OTHER_WORDS = (
    "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
)


class Types:
    generation = 1

    def types(self) -> list[ResourceType]:
        return list(resource_types(Context(None), _schemas().for_kind))  # type: ignore[arg-type]


def short_hash(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]


def without_own_words(schemas: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            key: value for key, value in schema.items() if key != "description" or name not in IN_OTHER_WORDS
        }
        for name, schema in schemas.items()
    }


def summary_v2(document: dict[str, Any]) -> dict[str, Any]:
    parts = ("paths", "definitions", "parameters")
    document = {**document, "definitions": without_own_words(document["definitions"])}
    return {
        **{part: {name: short_hash(one) for name, one in document[part].items()} for part in parts},
        "rest": short_hash({key: value for key, value in document.items() if key not in parts}),
    }


def summary_v3(document: dict[str, Any]) -> dict[str, str]:
    schemas = without_own_words(document["components"].get("schemas", {}))
    return {
        "paths": short_hash(document["paths"]),
        "schemas": short_hash(schemas),
        "rest": short_hash(
            [document["info"], document["openapi"], document["components"].get("securitySchemes")]
        ),
    }


def operations(document: dict[str, Any]) -> dict[str, list[str]]:
    """Operation -> its own parameters and those of its path, sorted."""
    found = {}
    for item in document["paths"].values():
        for verb, operation in item.items():
            if verb != "parameters":
                entries = (*item.get("parameters", ()), *operation.get("parameters", ()))
                found[operation["operationId"]] = sorted(one["name"] for one in entries)
    return found


@pytest.fixture(scope="module")
def openapi() -> OpenAPI:
    return OpenAPI(Types(), version="1.37")


@pytest.fixture(scope="module")
def swagger(openapi: OpenAPI) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(openapi.v2().body)
    return found


def test_the_index_of_openapi_3_names_what_a_kube_apiserver_names(openapi: OpenAPI) -> None:
    assert list(orjson.loads(openapi.v3_index().body)["paths"]) == sorted(RECORDED["v3"])


@pytest.mark.parametrize("path", sorted(RECORDED["v3"]))
def test_a_document_of_openapi_3_says_what_a_kube_apiserver_says(openapi: OpenAPI, path: str) -> None:
    document = openapi.v3(path)
    assert document is not None
    assert summary_v3(orjson.loads(document.body)) == RECORDED["v3"][path]


@pytest.mark.parametrize("part", ["paths", "definitions", "parameters", "rest"])
def test_openapi_2_says_what_a_kube_apiserver_says(swagger: dict[str, Any], part: str) -> None:
    assert summary_v2(swagger)[part] == RECORDED["v2"][part]


def test_streams_publish_their_options(openapi: OpenAPI) -> None:
    document = openapi.v3("api/v1")
    assert document is not None
    found = operations(orjson.loads(document.body))
    for name, parameters in RECORDED["streams"].items():
        assert found[name] == parameters, name
