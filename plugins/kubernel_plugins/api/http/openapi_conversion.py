"""Swagger 2.0 documents of servers that publish nothing newer, as OpenAPI 3.0.

Source: k8s.io/kube-openapi/pkg/openapiconv (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["to_v3"]

_VERBS = ("get", "put", "post", "delete", "options", "head", "patch")
_MOVED = (
    ("#/definitions/", "#/components/schemas/"),
    ("#/parameters/", "#/components/parameters/"),
    ("#/responses/", "#/components/responses/"),
)
_PLACED = ("name", "in", "description", "required", "allowEmptyValue")
_SIMPLE = ("type", "format", "uniqueItems")
_Object = Mapping[str, Any]


def to_v3(swagger: _Object) -> dict[str, Any]:
    """What it says of hosts, base paths and forms is lost, as it is upstream."""
    components: dict[str, Any] = {
        "schemas": {name: _schema(one) for name, one in (swagger.get("definitions") or {}).items()}
    }
    if "securityDefinitions" in swagger:
        schemes = swagger["securityDefinitions"]
        components["securitySchemes"] = {name: _security(one) for name, one in schemes.items()}
    if "responses" in swagger:
        produces = swagger.get("produces") or ()
        components["responses"] = {
            name: _response(one, produces) for name, one in swagger["responses"].items()
        }
    if "parameters" in swagger:
        components["parameters"] = {name: _parameter(one) for name, one in swagger["parameters"].items()}
    return {
        "openapi": "3.0.0",
        "info": swagger.get("info") or {},
        "paths": {
            path: item if path.startswith("x-") else _item(item)
            for path, item in (swagger.get("paths") or {}).items()
        },
        "components": components,
        **{key: swagger[key] for key in ("externalDocs",) if key in swagger},
    }


def _reference(told: str) -> str:
    for old, new in _MOVED:
        if told.startswith(old):
            return new + told[len(old) :]
    return told


def _schema(schema: Any) -> Any:
    """A reference beside anything else would hide it: it goes into an ``allOf``."""
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            made[key] = {name: _schema(one) for name, one in value.items()}
        elif key in ("additionalProperties", "additionalItems", "not"):
            made[key] = _schema(value)
        elif key in ("items", "allOf", "anyOf", "oneOf"):
            made[key] = [_schema(one) for one in value] if isinstance(value, list) else _schema(value)
        elif key == "$ref":
            made[key] = _reference(value)
        else:
            made[key] = value
    if "$ref" in made and len(made) > 1:
        made["allOf"] = [{"$ref": made.pop("$ref")}]
    return made


def _item(item: _Object) -> dict[str, Any]:
    made = {key: value for key, value in item.items() if key == "$ref" or key.startswith("x-")}
    made |= {verb: _operation(item[verb]) for verb in _VERBS if verb in item}
    if "parameters" in item:
        made["parameters"] = [_parameter(one) for one in item["parameters"]]
    return made


def _operation(operation: _Object) -> dict[str, Any]:
    kept = ("description", "externalDocs", "tags", "summary", "deprecated", "operationId")
    made = {key: value for key, value in operation.items() if key in kept or key.startswith("x-")}
    parameters = []
    for one in operation.get("parameters") or ():
        if one.get("in") == "body" and "schema" in one:
            content = {media: {"schema": _schema(one["schema"])} for media in operation.get("consumes") or ()}
            made["requestBody"] = {"content": content}
        else:
            parameters.append(_parameter(one))
    if parameters:
        made["parameters"] = parameters
    produces = operation.get("produces") or ()
    made["responses"] = {
        code: one if code.startswith("x-") else _response(one, produces)
        for code, one in (operation.get("responses") or {}).items()
    }
    return made


def _response(response: _Object, produces: Any) -> dict[str, Any]:
    if "$ref" in response:
        return {"$ref": _reference(response["$ref"])}
    made = {key: value for key, value in response.items() if key == "description" or key.startswith("x-")}
    if "schema" in response:
        made["content"] = {media: {"schema": _schema(response["schema"])} for media in produces}
    return made


def _parameter(parameter: _Object) -> dict[str, Any]:
    if "$ref" in parameter:
        return {"$ref": _reference(parameter["$ref"])}
    made = {key: value for key, value in parameter.items() if key in _PLACED or key.startswith("x-")}
    if "schema" in parameter:
        made["schema"] = _schema(parameter["schema"])
    else:
        made["schema"] = {key: parameter[key] for key in _SIMPLE if key in parameter}
    return made


def _security(scheme: _Object) -> dict[str, Any]:
    kept = ("description", "type", "name", "in")
    made = {key: value for key, value in scheme.items() if key in kept or key.startswith("x-")}
    if scheme.get("flow"):
        flow = ("authorizationUrl", "tokenUrl", "scopes")
        made["flows"] = {scheme["flow"]: {key: scheme[key] for key in flow if key in scheme}}
    return made
