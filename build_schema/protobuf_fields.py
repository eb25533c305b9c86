"""Writes the protobuf field table of the built-in types, from the published Go modules.

    go mod download k8s.io/api@v0.37.1 k8s.io/apimachinery@v0.37.1 …
    python -m build_schema.protobuf_fields $(go env GOMODCACHE)/k8s.io/{api,apimachinery,…}@v0.37.1 > FILE

Field numbers cannot be derived from the OpenAPI definitions, so the table is kept in the repository; this
program makes it anew for another version. Numbers and types come from ``generated.proto``, JSON names and
whether a zero value means "absent" from the struct tags beside it. Only messages that the newest compiled
definitions can reach are kept, and those that no definition names: metadata alone and discovery.

One line a message: its definition's name, then its fields as ``NAME=NUMBER`` and a type:

    s string   b bool   i integer   d double   y bytes   >MESSAGE (>.MESSAGE: of the same package)
    prefixed by * (repeated), % (map), ^ (its fields are the parent's in JSON); before all ? for a pointer
    (absent when nil, and its zero is a value), & for one that JSON has as null, ! for another field whose zero JSON
    does not leave out, or - for a struct whose zero it does (another one is always there).
    ``~strings`` instead of fields: in JSON the message is a list of strings.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import kubernetes_validate

_MESSAGE = re.compile(r"^message (\w+) \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(
    r"^  (?:(optional|repeated|required) )?(map<string, ?[\w.]+>|[\w.]+) (\w+) = (\d+);", re.MULTILINE
)
_STRUCT = re.compile(r"^type (\w+) struct \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
_TAGGED = re.compile(r"^\s*(?:(\w+)\s+)?(\S[^`\n]*?)\s*`(.*protobuf:\"[^\"]*\".*)`", re.MULTILINE)
_UNPUBLISHED = (
    *(
        f"io.k8s.apimachinery.pkg.apis.meta.{version}.PartialObjectMetadata{list_}"
        for version in ("v1", "v1beta1")
        for list_ in ("", "List")
    ),
    "io.k8s.api.apidiscovery.v2.APIGroupDiscoveryList",
    "io.k8s.api.apidiscovery.v2beta1.APIGroupDiscoveryList",
)
_SCALARS = {
    "string": "s",
    "bool": "b",
    "int32": "i",
    "int64": "i",
    "uint32": "i",
    "uint64": "i",
    "double": "d",
    "bytes": "y",
}


def main(roots: list[str]) -> None:
    protos = sorted(path for root in roots for path in Path(root).rglob("generated.proto"))
    lines: dict[str, str] = {}
    for path in protos:
        text = path.read_text()
        found = re.search(r"^package ([\w.]+);", text, re.MULTILINE)
        if found is None:
            continue
        package = _definition_package(found[1])
        tags = _struct_tags(path.parent)
        for message in _MESSAGE.finditer(text):
            name = message[1]
            fields = list(_FIELD.finditer(message[2]))
            if name not in tags and [field[3] for field in fields] == ["items"]:
                lines[f"{package}.{name}"] = "~strings"
                continue
            lines[f"{package}.{name}"] = " ".join(
                _field(field, package, tags.get(name, {})) for field in fields
            )
    for name in sorted(_reachable(lines)):
        sys.stdout.write(f"{name} {lines[name]}".rstrip() + "\n")


def _reachable(lines: dict[str, str]) -> set[str]:
    """Messages of the newest definitions and what they are made of."""
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    newest = max(folder.glob("v1.*-local"), key=lambda path: int(path.name.split(".")[1]))
    definitions = json.loads((newest / "_definitions.json").read_text())["$defs"]
    found: set[str] = set()
    todo = [name for name in (*definitions, *_UNPUBLISHED) if name in lines]
    while todo:
        name = todo.pop()
        if name in found or name not in lines:
            continue
        found.add(name)
        package = name.rpartition(".")[0]
        kinds = re.findall(r">(\S+)", lines[name])
        todo += [f"{package}{kind}" if kind.startswith(".") else kind for kind in kinds]
    return found


def _definition_package(package: str) -> str:
    """``k8s.io.kube_aggregator.pkg…`` is ``io.k8s.kube-aggregator.pkg…`` in OpenAPI."""
    parts = package.split(".")
    return ".".join(["io", "k8s", *(part.replace("_", "-") for part in parts[2:])])


def _struct_tags(folder: Path) -> dict[str, dict[int, tuple[str, bool, str]]]:
    """Struct -> field number -> (JSON name, inlined, mark)."""
    structs: dict[str, dict[int, tuple[str, bool, str]]] = {}
    for source in sorted(folder.glob("*.go")):
        if source.name.startswith(("generated", "zz_", "types_swagger")):
            continue
        for struct in _STRUCT.finditer(source.read_text()):
            fields = structs.setdefault(struct[1], {})
            for field in _TAGGED.finditer(struct[2]):
                number = re.search(r'protobuf:"\w+,(\d+),', field[3])
                if number is None:
                    continue
                tag = re.search(r'json:"([^"]*)"', field[3])
                name, _, options = (tag[1] if tag else "").partition(",")
                inlined = name in ("", "-")
                omitted = "omitempty" in options or "omitzero" in options
                mark = _mark(field[2].startswith("*"), omitted, "omitzero" in options)
                fields[int(number[1])] = (name, inlined, mark)
    return structs


def _mark(pointer: bool, omitted: bool, when_zero: bool) -> str:
    if pointer:
        return "?" if omitted else "&"
    return "-" if when_zero else "" if omitted else "!"


def _field(field: re.Match[str], package: str, tags: dict[int, tuple[str, bool, str]]) -> str:
    label, kind, proto_name, number = field[1], field[2], field[3], int(field[4])
    name, inlined, prefix = tags.get(number, (proto_name, False, ""))
    if kind.startswith("map<"):
        return f"{name}={number}{prefix}%{_type(kind[4:-1].split(',')[1].strip(), package)}"
    if inlined:
        return f"{proto_name}={number}^{_type(kind, package)}"
    repeated = "*" if label == "repeated" else ""
    return f"{name}={number}{prefix}{repeated}{_type(kind, package)}"


def _type(kind: str, package: str) -> str:
    if kind in _SCALARS:
        return _SCALARS[kind]
    if "." in kind:
        head, _, message = kind.lstrip(".").rpartition(".")
        return f">{_definition_package(head)}.{message}"
    return f">.{kind}"


if __name__ == "__main__":
    main(sys.argv[1:])
