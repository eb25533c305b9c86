"""What is wrong with a definition is told in upstream's words: a test for each rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from crd_kit import DEFINITIONS, definition, fields, of_spec, preserve, serve, version

from kubernel.errors import Invalid
from kubernel.testing import Cluster
from kubernel_plugins.api.custom.rules import unknown_formats

Obj = dict[str, Any]


def refused(cluster: Cluster, made: Obj) -> set[str]:
    """``field: message`` of every cause."""
    with pytest.raises(Invalid) as caught:
        cluster.create(made, namespace="")
    return {f"{cause.field}: {cause.message}" for cause in caught.value.causes}


def changed(change: Callable[[Obj], object]) -> Obj:
    made = definition()
    change(made)
    return made


LABEL = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(
            lambda made: made["metadata"].update(name="x.example.com"),
            'metadata.name: Invalid value: "x.example.com": must be spec.names.plural+"."+spec.group',
            id="name",
        ),
        pytest.param(
            lambda made: (
                made["spec"].update(group="example"),
                made["metadata"].update(name="widgets.example"),
            ),
            'spec.group: Invalid value: "example": should be a domain with at least one dot',
            id="group-without-dot",
        ),
        pytest.param(
            lambda made: made["spec"]["names"].update(listKind="Widget"),
            'spec.names.listKind: Invalid value: "Widget": kind and listKind may not be the same',
            id="list-kind",
        ),
        pytest.param(
            lambda made: made["spec"]["names"].update(kind="Wid_get"),
            f'spec.names.kind: Invalid value: "Wid_get": may have mixed case, but should otherwise match: {LABEL}',
            id="kind",
        ),
        pytest.param(
            lambda made: made["spec"]["names"].update(shortNames=["W"]),
            f'spec.names.shortNames[0]: Invalid value: "W": {LABEL}',
            id="short-name",
        ),
        pytest.param(
            lambda made: made["spec"]["names"].update(categories=["A"]),
            f'spec.names.categories[0]: Invalid value: "A": {LABEL}',
            id="category",
        ),
        pytest.param(
            lambda made: made["spec"]["versions"][0].update(deprecationWarning="old"),
            'spec.versions[0].deprecationWarning: Invalid value: "old": can only be set for deprecated versions',
            id="warning-of-a-version-that-is-not-deprecated",
        ),
        pytest.param(
            lambda made: made["spec"]["versions"][0].pop("schema"),
            "spec.versions[0].schema.openAPIV3Schema: Required value",
            id="no-schema",
        ),
        pytest.param(
            lambda made: made["spec"]["versions"][0].update(subresources={"scale": {}}),
            "spec.subresources.scale.specReplicasPath: Required value",
            id="scale-without-path",
        ),
        pytest.param(
            lambda made: made["spec"]["versions"][0].update(
                subresources={"scale": {"specReplicasPath": ".status.a", "statusReplicasPath": ".status.a"}}
            ),
            'spec.subresources.scale.specReplicasPath: Invalid value: ".status.a": should be a json path under .spec',
            id="scale-path",
        ),
        pytest.param(
            lambda made: made["spec"]["versions"][0].update(
                subresources={
                    "scale": {
                        "specReplicasPath": ".spec.a",
                        "statusReplicasPath": ".status.a",
                        "labelSelectorPath": ".metadata.a",
                    }
                }
            ),
            'spec.subresources.scale.labelSelectorPath: Invalid value: ".metadata.a": should be a json path under '
            "either .spec or .status",
            id="selector-path",
        ),
        pytest.param(
            lambda made: made["spec"]["versions"][0].update(
                additionalPrinterColumns=[{"name": "a", "type": "text", "jsonPath": ".a"}]
            ),
            'spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of '
            "boolean,date,integer,number,string",
            id="column-type",
        ),
        pytest.param(
            lambda made: made["spec"]["versions"][0].update(
                additionalPrinterColumns=[{"name": "a", "type": "string", "jsonPath": "a"}]
            ),
            'spec.additionalPrinterColumns[0].JSONPath: Invalid value: "a": must be a simple json path starting with .',
            id="column-path",
        ),
        pytest.param(
            lambda made: made["spec"].update(conversion={"strategy": "Other"}),
            'spec.conversion.strategy: Unsupported value: "Other": supported values: "None", "Webhook"',
            id="strategy",
        ),
        pytest.param(
            lambda made: made["spec"].update(conversion={"strategy": "Webhook"}),
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
            id="no-client-config",
        ),
        pytest.param(
            lambda made: made["spec"].update(
                conversion={
                    "strategy": "Webhook",
                    "webhook": {
                        "clientConfig": {"url": "https://example.com"},
                        "conversionReviewVersions": ["v2"],
                    },
                }
            ),
            'spec.conversion.conversionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1',
            id="review-versions",
        ),
        pytest.param(
            lambda made: made["spec"].update(preserveUnknownFields=True),
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set "
            "x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
            id="preserve-unknown-fields",
        ),
    ],
)
def test_a_wrong_definition_is_refused(cluster: Cluster, change: Callable[[Obj], object], told: str) -> None:
    assert told in refused(cluster, changed(change))


def test_versions_have_names_of_their_own_and_one_is_stored(cluster: Cluster) -> None:
    told = refused(cluster, definition(version(), version()))
    assert any(text.endswith("must contain unique version names") for text in told)
    assert any(text.endswith("must have exactly one version marked as storage version") for text in told)


def test_a_definition_of_the_communitys_group_names_its_approval(cluster: Cluster) -> None:
    made = definition(group="widgets.k8s.io")
    (told,) = refused(cluster, made)
    assert told.startswith(
        "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval "
        'annotation "api-approved.kubernetes.io"'
    )
    made["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, an experiment"}
    conditions = serve(cluster, made)["status"]["conditions"]
    (conformant,) = (one for one in conditions if one["type"] == "KubernetesAPIApprovalPolicyConformant")
    assert (conformant["status"], conformant["reason"], conformant["message"]) == (
        "False",
        "UnapprovedAnnotation",
        'not approved: "unapproved, an experiment"',
    )


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        pytest.param({}, "type: Required value: must not be empty for specified object fields", id="no-type"),
        pytest.param(
            {"type": "list"},
            'type: Unsupported value: "list": supported values: "array", "boolean", '
            '"integer", "number", "object", "string"',
            id="unknown-type",
        ),
        pytest.param({"type": "array"}, "items: Required value: must be specified", id="array-without-items"),
        pytest.param(
            {"type": "array", "items": {}},
            "items.type: Required value: must not be empty for specified array items",
            id="items-without-type",
        ),
        pytest.param(
            {"type": "string", "anyOf": [{"type": "string"}]},
            "anyOf[0].type: Forbidden: must be empty to be structural",
            id="type-in-a-value-rule",
        ),
        pytest.param(
            {"type": "string", "not": {"default": "a"}},
            "not.default: Forbidden: must be undefined to be structural",
            id="default-in-a-value-rule",
        ),
        pytest.param(
            {"type": "string", "pattern": "["},
            'pattern: Invalid value: "[": must be a valid regular expression, but isn\'t: error parsing regexp: '
            "missing closing ]: `[`",
            id="pattern",
        ),
        pytest.param(
            {
                "type": "string",
                "x-kubernetes-embedded-resource": True,
                "x-kubernetes-preserve-unknown-fields": True,
            },
            'type: Invalid value: "string": must be object if x-kubernetes-embedded-resource is true',
            id="embedded-string",
        ),
        pytest.param(
            {"type": "object", "x-kubernetes-embedded-resource": True},
            "properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without "
            "x-kubernetes-preserve-unknown-fields",
            id="embedded-without-properties",
        ),
        pytest.param(
            {"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True},
            "x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is "
            "true",
            id="int-or-string-and-unknown-fields",
        ),
        pytest.param(
            {
                "type": "object",
                "properties": {"a": {"type": "string"}},
                "additionalProperties": {"type": "string"},
            },
            "additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
            id="struct-and-map",
        ),
        pytest.param(
            {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            "uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            id="unique-items",
        ),
        pytest.param(
            {"type": "object", "patternProperties": {"a": {"type": "string"}}},
            "patternProperties: Forbidden: patternProperties is not supported",
            id="pattern-properties",
        ),
        pytest.param({"type": "object", "$ref": "#/a"}, "$ref: Forbidden: $ref is not supported", id="ref"),
        pytest.param(
            {"type": "object", "x-kubernetes-preserve-unknown-fields": False},
            "x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
            id="not-preserving",
        ),
        pytest.param(
            {"type": "string", "x-kubernetes-map-type": "atomic"},
            'type: Invalid value: "string": must be object if x-kubernetes-map-type is specified',
            id="map-type-of-a-string",
        ),
        pytest.param(
            {"type": "object", "x-kubernetes-map-type": "loose"},
            'x-kubernetes-map-type: Unsupported value: "loose": supported values: "atomic", "granular"',
            id="map-type",
        ),
        pytest.param(
            {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "bag"},
            'x-kubernetes-list-type: Unsupported value: "bag": supported values: "atomic", "set", "map"',
            id="list-type",
        ),
        pytest.param(
            {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-map-keys": ["a"]},
            "x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty",
            id="keys-without-list-type",
        ),
        pytest.param(
            {"type": "array", "items": fields(a={"type": "string"}), "x-kubernetes-list-type": "map"},
            "x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
            id="map-without-keys",
        ),
        pytest.param(
            {
                "type": "array",
                "items": fields(a={"type": "string"}),
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["a"],
            },
            "items.properties[a].default: Required value: this property is in x-kubernetes-list-map-keys, so it must "
            "have a default or be a required property",
            id="key-that-may-be-absent",
        ),
        pytest.param(
            {
                "type": "array",
                "items": fields(a={"type": "string", "default": "x"}),
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["b"],
            },
            'x-kubernetes-list-map-keys: Invalid value: ["b"]: entries must all be names of item properties',
            id="key-that-is-no-property",
        ),
        pytest.param(
            {"type": "array", "items": {"type": "string", "nullable": True}, "x-kubernetes-list-type": "set"},
            "items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set",
            id="nullable-item-of-a-set",
        ),
        pytest.param(
            {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"},
            "items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with "
            "x-kubernetes-list-type=set",
            id="set-of-structs",
        ),
        pytest.param(
            {"type": "integer", "default": "x"},
            'default: Invalid value: "string":  in body must be of type integer: "string"',
            id="default-of-another-type",
        ),
        pytest.param(
            {"type": "object", "default": {"a": 1}},
            'default: Invalid value: {"a":1}: must not have unknown fields',
            id="default-with-unknown-fields",
        ),
    ],
)
def test_a_wrong_schema_is_refused(cluster: Cluster, schema: Obj, told: str) -> None:
    prefix = "spec.validation.openAPIV3Schema.properties[spec]."
    assert prefix + told in refused(cluster, definition(version(schema=of_spec(schema))))


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        pytest.param(
            {"type": "array", "items": {"type": "string"}},
            '.type: Invalid value: "array": must be object at the root',
            id="no-object",
        ),
        pytest.param(
            {"type": "object", "nullable": True},
            ".nullable: Forbidden: nullable cannot be true at the root",
            id="nullable",
        ),
        pytest.param(
            {"type": "object", "additionalProperties": {"type": "string"}},
            ".additionalProperties: Forbidden: must not be used at the root",
            id="map",
        ),
        pytest.param(
            {"type": "object", "properties": {"metadata": fields(labels={"type": "object"})}},
            ".properties[metadata]: Forbidden: must not specify anything other than name and generateName, but "
            "metadata is implicitly specified",
            id="metadata",
        ),
        pytest.param(
            {"type": "object", "anyOf": [{"properties": {"a": {}}}]},
            ".properties[a]: Required value: because it is defined in "
            "spec.validation.openAPIV3Schema.anyOf[0].properties[a]",
            id="value-rule-of-an-unspecified-field",
        ),
        pytest.param(
            {"type": "object", "properties": {"kind": {"type": "string", "default": "A"}}},
            ".properties[kind].default: Forbidden: must not be set in top-level kind",
            id="default-of-kind",
        ),
    ],
)
def test_a_wrong_root_is_refused(cluster: Cluster, schema: Obj, told: str) -> None:
    assert "spec.validation.openAPIV3Schema" + told in refused(cluster, definition(version(schema=schema)))


def test_with_a_status_subresource_the_root_says_little(cluster: Cluster) -> None:
    schema = {"type": "object", "oneOf": [{"required": ["spec"]}], "properties": {"spec": preserve()}}
    told = refused(cluster, definition(version(schema=schema, subresources={"status": {}})))
    (root,) = told
    assert root.endswith("fields are allowed at the root of the schema if the status subresource is enabled")
    assert "only [Description Type Format Title Maximum" in root


def test_what_versions_say_differently_is_told_of_the_version(cluster: Cluster) -> None:
    wrong = version("v2", schema=of_spec({}), storage=False)
    told = "type: Required value: must not be empty for specified object fields"
    assert refused(cluster, definition(version(), wrong)) == {
        f"spec.versions[1].schema.openAPIV3Schema.properties[spec].{told}"
    }


@pytest.mark.parametrize(
    ("path", "told"),
    [
        pytest.param(".metadata.name", "must not point to fields in metadata", id="metadata"),
        pytest.param(".spec.none", "is an invalid path: does not refer to a valid field", id="no-field"),
        pytest.param(".spec['a']", "is an invalid path: array notation is not allowed", id="brackets"),
        pytest.param(
            ".spec",
            "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are "
            "allowed.",
            id="object",
        ),
    ],
)
def test_a_wrong_selectable_field_is_refused(cluster: Cluster, path: str, told: str) -> None:
    schema = of_spec(fields(a={"type": "string"}), metadata=fields(name={"type": "string"}))
    made = definition(version(schema=schema, selectableFields=[{"jsonPath": path}]))
    assert f'spec.selectableFields[0].jsonPath: Invalid value: "{path}": {told}' in refused(cluster, made)


def test_what_is_established_keeps_its_kind_scope_and_versions(cluster: Cluster) -> None:
    made = serve(cluster, definition(version("v1"), version("v2", storage=False)))
    spec = made["spec"]
    names = {**spec["names"], "kind": "Gadget", "listKind": "GadgetList"}
    versions = [{**spec["versions"][1], "storage": True}]
    with pytest.raises(Invalid) as caught:
        cluster.update({**made, "spec": {**spec, "scope": "Cluster", "names": names, "versions": versions}})
    told = {f"{cause.field}: {cause.message}" for cause in caught.value.causes}
    assert 'spec.scope: Invalid value: "Cluster": field is immutable' in told
    assert 'spec.names.kind: Invalid value: "Gadget": field is immutable' in told
    assert (
        'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage '
        "version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 "
        "and removes v1 from status.storedVersions"
    ) in told


def test_every_storage_version_is_remembered(cluster: Cluster) -> None:
    made = serve(cluster, definition(version("v1"), version("v2", storage=False)))
    assert made["status"]["storedVersions"] == ["v1"]
    first, second = made["spec"]["versions"]
    versions = [{**first, "storage": False}, {**second, "storage": True}]
    cluster.update({**made, "spec": {**made["spec"], "versions": versions}})
    assert cluster.get(DEFINITIONS, "widgets.example.com", "")["status"]["storedVersions"] == ["v1", "v2"]


def test_names_and_conversion_have_defaults(cluster: Cluster) -> None:
    made = definition()
    for name in ("singular", "listKind"):
        del made["spec"]["names"][name]
    spec = serve(cluster, made)["spec"]
    assert (spec["names"]["singular"], spec["names"]["listKind"]) == ("widget", "WidgetList")
    assert spec["conversion"] == {"strategy": "None"}


def test_formats_that_nobody_knows_are_warned_of() -> None:
    made = of_spec(
        fields(a={"type": "string", "format": "shoe-size"}, b={"type": "integer", "format": "int64"})
    )
    assert unknown_formats(definition(version(schema=made))) == ["shoe-size"]


def test_versions_are_printed_without_what_all_of_them_say(cluster: Cluster) -> None:
    schema = {"type": "object"}
    with pytest.raises(Invalid) as caught:
        cluster.create(definition(version("v1", schema), version("v2", schema)), namespace="")
    told = (
        '{{"Name":"{}","Served":true,"Storage":true,"Deprecated":false,"DeprecationWarning":null,"Schema":null,'
        '"Subresources":null,"AdditionalPrinterColumns":null,"SelectableFields":null}}'
    )
    assert caught.value.causes[0].message == (
        f"Invalid value: [{told.format('v1')},{told.format('v2')}]: must have exactly one version marked as storage "
        "version"
    )


def test_the_stored_versions_are_never_none(cluster: Cluster) -> None:
    made = serve(cluster, definition())
    changed = {**made, "status": {**made["status"], "storedVersions": []}}
    kept = cluster.run(cluster.client().update(DEFINITIONS, changed, subresource="status"))
    assert kept["status"]["storedVersions"] == ["v1"]


def test_a_definition_that_goes_has_no_grace_period(cluster: Cluster) -> None:
    made = definition()
    made["metadata"]["finalizers"] = ["example.com/held"]
    serve(cluster, made)
    cluster.run(cluster.client().delete(DEFINITIONS, "widgets.example.com"))
    metadata = cluster.get(DEFINITIONS, "widgets.example.com", "")["metadata"]
    assert "deletionTimestamp" in metadata
    assert "deletionGracePeriodSeconds" not in metadata
