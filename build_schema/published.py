"""Writes what OpenAPI documents of a server say beyond the compiled definitions.

    go mod download k8s.io/kubernetes@v1.37.0
    go mod download k8s.io/api@v0.37.0
    cd $(go env GOMODCACHE)/k8s.io && python -m build_schema.published kubernetes@v1.37.0 api@v0.37.0

What the schema data is compiled from has neither enums nor defaults, and no parameters of operations. Defaults and
parameters come from the documents in ``api/openapi-spec``; enums are left out of those and come from the generated
Go definitions. Two files are written; both are kept in the repository:

    core/kubernel/registry/parameters.json
        parameters of every kind's operations: name -> [type, text]; ``NAME ACTION`` where an action has other words
    plugins/kubernel_plugins/api/builtin/published.json
        fields: definition -> field (``FIELD[]``: its items or values) -> enum, values (what the
        description says of them), default; without the defaults that follow from a field's type
        named: definition -> field (``FIELD[]`` as above) -> the name of its scalar type in Go
        options: kind of options (PodExecOptions) -> query parameter -> [type, text]
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kubernel_plugins.api.builtin import _field_table
from kubernel_plugins.api.builtin.published import zero_defaults
from kubernel_plugins.api.builtin.schemas import Schemas

_ROOT = Path(__file__).parents[1]
_PARAMETERS = _ROOT / "core" / "kubernel" / "registry" / "parameters.json"
_PUBLISHED = _ROOT / "plugins" / "kubernel_plugins" / "api" / "builtin" / "published.json"
_VERBS = ("get", "put", "post", "delete", "options", "head", "patch")
_FUNCTION = re.compile(r"func schema_(k8sio_api|pkg_apis_apiextensions)_(\w+)\(")
_PACKAGES = {
    "k8sio_api": "io.k8s.api",
    "pkg_apis_apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
}
_FIELD = re.compile(r'\t{5}"(\w+)": \{$')
_TEXT = re.compile(r'\t+Description: +(".*"),$')
_ENUM = re.compile(r"(\t+)Enum: +\[\]interface\{\}\{(.*)\},$")
_DEPTH = 7
_ELSEWHERE = ("types.UID", "types.NodeName", "v1.TaintEffect", "v1.Protocol", "v1.NodeSelectorOperator")
_STRUCT = re.compile(r"^type (\w+) struct \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
_SCALAR = re.compile(r"^type (\w+) (?:string|int32|int64)$", re.MULTILINE)
_TYPED = re.compile(r"^\t\w+ +(\*|\[\]|)((?:\w+\.)?)([A-Z]\w*) +`json:\"(\w+)", re.MULTILINE)
_POSSIBLE = re.compile(r"\n+Possible enum values:")
_STREAM_LOG = "readCoreV1NamespacedPodLog"


def main(directory: str, api: str) -> None:
    spec = Path(directory) / "api" / "openapi-spec"
    general, options = _parameters(json.loads((spec / "swagger.json").read_text()))
    _write(_PARAMETERS, general)
    documents = [json.loads(path.read_text()) for path in sorted((spec / "v3").glob("*.json"))]
    fields = _fields(documents)
    generated = Path(directory) / "pkg" / "generated" / "openapi" / "zz_generated.openapi.go"
    for name, field, keywords in _enums(generated.read_text().splitlines()):
        of_field = fields.setdefault(name, {})
        of_field[field] = {**keywords, **of_field.get(field, {})}
    _write(
        _PUBLISHED, {"fields": dict(sorted(fields.items())), "named": _named(Path(api)), "options": options}
    )


def _parameters(swagger: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    general: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for action, kind, stream, parameter in _each(swagger):
        name, told = parameter["name"], [parameter["type"], parameter.get("description", "")]
        if stream and parameter["in"] == "query" and name != "pretty":
            options.setdefault(kind, {})[name] = told
        elif name != "name":
            for key in (name, f"{name} {action}"):
                if general.setdefault(key, told) == told:
                    break
    return dict(sorted(general.items())), options


def _each(swagger: dict[str, Any]) -> Iterator[tuple[str, str, bool, dict[str, Any]]]:
    """(action, kind of options, whether they are a stream's, parameter)."""
    shared = swagger.get("parameters", {})
    for _, item in sorted(swagger["paths"].items()):
        operations = [item[verb] for verb in _VERBS if verb in item]
        for operation in operations:
            kind = operation.get("x-kubernetes-group-version-kind", {}).get("kind", "")
            if not kind:
                continue
            log = operation.get("operationId") == _STREAM_LOG
            action = operation.get("x-kubernetes-action", "")
            stream = log or action == "connect"
            for parameter in (*item.get("parameters", ()), *operation.get("parameters", ())):
                told = shared[parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter
                if told["in"] != "body":
                    yield action, "PodLogOptions" if log else kind, stream, told


def _fields(documents: list[dict[str, Any]]) -> dict[str, Any]:
    schemas = Schemas(table=_field_table)
    found: dict[str, Any] = {}
    for document in documents:
        for name, schema in document["components"].get("schemas", {}).items():
            if name not in schemas or name in found:
                continue
            implied = zero_defaults(schemas.node(name))
            fields: dict[str, Any] = {}
            for field, told in schema.get("properties", {}).items():
                own = {"default": told["default"]} if "default" in told else {}
                if field in implied and own.get("default") == implied[field]:
                    own = {}
                if own:
                    fields[field] = own
                if field in implied and "default" not in told:
                    raise SystemExit(f"{name}.{field}: {implied[field]!r} is not its published default")
            if fields:
                found[name] = fields
    return dict(sorted(found.items()))


def _enums(lines: list[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(definition, field, keywords)"""
    name = field = text = ""
    for line in lines:
        if found := _FUNCTION.match(line):
            name = f"{_PACKAGES[found[1]]}.{found[2].replace('_', '.')}"
        elif found := _FIELD.match(line):
            field, text = found[1], ""
        elif found := _TEXT.match(line):
            text = json.loads(found[1])
        elif found := _ENUM.match(line):
            deep = len(found[1]) > _DEPTH
            values = json.loads(f"[{found[2]}]")
            told = _POSSIBLE.search(text)
            said = {"values": text[told.start() :]} if told else {}
            if deep:
                yield name, f"{field}[]", {"enum": values}
                yield name, field, said
            else:
                yield name, field, {"enum": values, **said}


def _named(api: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for path in sorted(api.glob("*/*/types*.go")):
        group, version = path.parts[-3:-1]
        beside = [other.read_text() for other in sorted(path.parent.glob("types*.go"))]
        scalars = {name for text in beside for name in _SCALAR.findall(text)}
        for name, body in _STRUCT.findall(path.read_text()):
            fields = found.setdefault(f"io.k8s.api.{group}.{version}.{name}", {})
            for shape, package, kind, told in _TYPED.findall(body):
                if (not package and kind in scalars) or f"{package}{kind}" in _ELSEWHERE:
                    fields[told + ("[]" if shape == "[]" else "")] = f"{package or version + '.'}{kind}"
    return {name: fields for name, fields in sorted(found.items()) if fields}


def _write(path: Path, table: dict[str, Any]) -> None:
    path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
