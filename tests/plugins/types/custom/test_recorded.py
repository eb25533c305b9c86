"""What the libraries of v1.37 say of schemas and objects, recorded, against what is said here.

``recorded/schemas.json`` holds random schemas, ``recorded/rules.json`` CEL rules; of each what is
refused in the definition, and for objects with such a spec what is kept and what is refused.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from crd_kit import definition, version, widget

from kubernel.clock import RealClock
from kubernel.registry.defaulting import apply_defaults
from kubernel.registry.jsonschema import compile_resource
from kubernel.registry.pruning import decode_check
from kubernel.registry.validation import Cause, validate
from kubernel_plugins.api.builtin import _schemas
from kubernel_plugins.api.custom.definition import DefinitionStrategy
from kubernel_plugins.api.custom.embedded import check_embedded
from kubernel_plugins.api.custom.expressions import Rules
from kubernel_plugins.api.custom.ruled import has_rules
from kubernel_plugins.api.custom.rules import check_definition

RECORDED = Path(__file__).parent / "recorded"
STOPS_RULES = {
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
}

METADATA = _schemas().node("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
DEFINITION = _schemas().for_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")


def told(causes: list[Cause]) -> list[str]:
    return sorted({f"{cause.field}: {cause.message}" for cause in causes})


def refused_in_definition(schema: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """What is refused, and the schema as it is after decoding and defaults."""
    made = definition(version(schema=copy.deepcopy(schema)))
    decode_check(DEFINITION, made)
    DefinitionStrategy(RealClock(), METADATA).default(made)
    made["status"] = {"storedVersions": ["v1"]}
    return told(check_definition(made, None, METADATA)), made["spec"]["versions"][0]["schema"][
        "openAPIV3Schema"
    ]


def refused_in_object(node: Any, made: dict[str, Any], old: dict[str, Any] | None) -> list[str]:
    decode_check(node, made)
    apply_defaults(node, made)
    causes = [*validate(node, made), *check_embedded(node, made)]
    if has_rules(node) and not any(cause.reason in STOPS_RULES for cause in causes):
        causes += Rules(node).check(made, old, lambda _: None)
    return told(causes)


@pytest.mark.parametrize("name", ["schemas", "rules"])
def test_definitions_and_objects_are_judged_as_by_the_libraries(name: str) -> None:
    for recorded in json.loads((RECORDED / f"{name}.json").read_text()):
        where = json.dumps(recorded["schema"])
        refused, schema = refused_in_definition(recorded["schema"])
        assert refused == sorted(set(recorded["definition"])), where
        node = compile_resource(schema, METADATA)
        old = recorded.get("old", [])
        for index, one in enumerate(recorded.get("objects", [])):
            made = widget(spec=copy.deepcopy(one["given"]))
            before = old[index] if index < len(old) else None
            causes = refused_in_object(node, made, None if before is None else widget(spec=before))
            assert made.get("spec") == one["kept"], where
            assert causes == one["causes"], where
