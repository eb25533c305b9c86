"""The compiled definitions: every version loads, and the trees say what Kubernetes says."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernel.errors import ApiError, PluginError
from kubernel.registry.defaulting import apply_defaults
from kubernel.registry.pruning import decode_check
from kubernel.registry.schema import Node
from kubernel.registry.validation import validate
from kubernel_plugins.api.builtin.schemas import DEFAULT_VERSION, VERSIONS, Schemas

ROOT = Path(__file__).parents[4]
POD_SPEC = "io.k8s.api.core.v1.PodSpec"
CONTAINER = "io.k8s.api.core.v1.Container"


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    return Schemas()


def field(node: Node, *path: str) -> Node:
    for part in path:
        inner = node.items if part == "[]" else (node.properties or {})[part]
        assert inner is not None
        node = inner
    return node


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_all_its_definitions(version: str) -> None:
    schemas = Schemas(version)
    names = list(schemas.names())
    assert len(names) > 500
    for name in names:
        node = schemas.node(name)
        assert node.type in (
            "object", "any", "string", "int-or-string", "quantity", "time", "microtime",
        ), name  # fmt: skip
    pod = schemas.for_kind("", "v1", "Pod")
    assert field(pod, "spec", "containers", "[]", "ports", "[]").map_keys == ()
    assert field(pod, "spec", "containers", "[]", "ports").map_keys == ("containerPort", "protocol")


def test_the_default_version_is_the_newest() -> None:
    assert Schemas().version == DEFAULT_VERSION == VERSIONS[-1] == "1.37"


def test_a_version_that_is_not_there_is_named() -> None:
    with pytest.raises(PluginError, match=r"no schemas of Kubernetes 1\.12: there are 1\.25 to 1\.37"):
        Schemas("1.12")


def test_missing_data_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"python -m build_schema\.build"):
        Schemas(data=tmp_path)


def test_patch_and_list_rules_are_kept(schemas: Schemas) -> None:
    spec = field(schemas.for_kind("apps", "v1", "Deployment"), "spec")
    assert field(spec, "strategy").patch_strategy == ("retainKeys",)
    pod = field(spec, "template", "spec")
    containers = field(pod, "containers")
    assert (containers.list_type, containers.map_keys) == ("map", ("name",))
    assert (containers.patch_strategy, containers.merge_key) == (("merge",), "name")
    assert field(pod, "volumes").patch_strategy == ("merge", "retainKeys")
    assert field(spec, "selector").map_type == "atomic"
    assert field(containers, "[]", "command").list_type == "atomic"


def test_types_with_json_forms_of_their_own(schemas: Schemas) -> None:
    pod = schemas.for_kind("", "v1", "Pod")
    assert field(pod, "metadata", "creationTimestamp").type == "time"
    assert field(pod, "metadata", "labels").additional is not None
    container = field(pod, "spec", "containers", "[]")
    limits = field(container, "resources", "limits").additional
    assert limits is not None
    assert limits.type == "quantity"
    assert field(container, "livenessProbe", "httpGet", "port").type == "int-or-string"
    lease = schemas.for_kind("coordination.k8s.io", "v1", "Lease")
    assert field(lease, "spec", "renewTime").type == "microtime"
    assert field(schemas.for_kind("apps", "v1", "ControllerRevision"), "data").preserve_unknown
    assert field(pod, "kind").enum == ()


def test_recursion_and_sharing(schemas: Schemas) -> None:
    props = schemas.node("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
    assert field(props, "properties").additional is props
    assert field(props, "not") is props
    assert schemas.node(POD_SPEC) is field(schemas.for_kind("", "v1", "Pod"), "spec")


def test_nothing_is_made_before_it_is_looked_at() -> None:
    fresh = Schemas()
    pod: Any = fresh.for_kind("", "v1", "Pod")
    assert not pod.loaded
    spec: Any = pod.properties["spec"]
    assert pod.loaded
    assert not spec.loaded


def test_kinds_and_descriptions(schemas: Schemas) -> None:
    assert schemas.definition_for("", "v1", "Pod") == "io.k8s.api.core.v1.Pod"
    assert ("apps", "v1", "DeploymentList") in schemas.gvks()
    with pytest.raises(KeyError):
        schemas.definition_for("apps", "v9", "Deployment")
    told = schemas.descriptions(CONTAINER)
    assert told[""].startswith("A single application container")
    assert told["image"].startswith("Container image name.")
    assert "1Gi" in schemas.describe("io.k8s.apimachinery.pkg.api.resource.Quantity")[0]


def test_overlay_adds_what_the_definitions_lack() -> None:
    schemas = Schemas()
    schemas.overlay(
        {
            CONTAINER: {
                "terminationMessagePath": {"default": "/dev/termination-log"},
                "imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
                "args[]": {"maxLength": 4},
                "resources": {"default": {}},
            },
            POD_SPEC: {"": {"required": ["containers"]}},
        }
    )
    pod: dict[str, Any] = {
        "spec": {
            "containers": [{"name": "a", "imagePullPolicy": "Sometimes", "args": ["short", "x"]}],
            "initContainers": [{"name": "b", "terminationMessagePath": "/x"}],
        }
    }
    node = schemas.for_kind("", "v1", "Pod")
    apply_defaults(node, pod)
    container = pod["spec"]["containers"][0]
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert container["resources"] == {}
    assert pod["spec"]["initContainers"][0]["terminationMessagePath"] == "/x"
    supported = '"Always", "IfNotPresent", "Never"'
    assert [f"{cause.field}: {cause.message}" for cause in validate(node, pod)] == [
        "spec.containers[0].args[0]: Too long: may not be more than 4 bytes",
        f'spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: {supported}',
    ]
    pod["spec"]["containers"] = []
    assert [cause.field for cause in validate(node, pod)] == ["spec.containers"]
    untouched = Schemas().for_kind("", "v1", "Pod")
    assert field(untouched, "spec", "containers", "[]", "terminationMessagePath").default is Node.UNSET


def test_overlays_that_do_not_fit_are_refused() -> None:
    schemas = Schemas()
    with pytest.raises(ValueError, match=r"no definition io\.example\.Nothing"):
        schemas.overlay({"io.example.Nothing": {"x": {"default": 1}}})
    with pytest.raises(ValueError, match="has no field nope"):
        schemas.overlay({CONTAINER: {"nope": {"default": 1}}})
    schemas.overlay({CONTAINER: {"nope": {"default": 1}}}, strict=False)
    assert schemas.node(CONTAINER).type == "object"
    with pytest.raises(ValueError, match="in use already"):
        schemas.overlay({CONTAINER: {"image": {"default": "x"}}})


def test_the_build_is_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kubernetes_validate")
    monkeypatch.syspath_prepend(str(ROOT))
    from build_schema.build import build

    def digests() -> dict[str, str]:
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in build(tmp_path)}

    first = digests()
    assert len(first) == 2 * len(VERSIONS) + 1
    data = tmp_path / "plugins" / "kubernel_plugins" / "api" / "builtin" / "data"
    (data / "v1.30.structure").unlink()
    assert digests() == first, "a missing file is made again"
    installed = Path(sys.modules[Schemas.__module__].__file__ or "").parent / "data"
    if (installed / "STAMP").read_text() == (data / "STAMP").read_text():
        assert (installed / "v1.37.structure").read_bytes() == (data / "v1.37.structure").read_bytes()


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
)


def values_for(node: Node, depth: int) -> st.SearchStrategy[Any]:
    """Mostly well-typed values, so that the walk gets deep."""
    if depth == 0 or (not node.properties and node.items is None and node.additional is None):
        sensible: dict[str, st.SearchStrategy[Any]] = {
            "string": st.text(max_size=4),
            "integer": st.integers(0, 70000),
            "boolean": st.booleans(),
            "quantity": st.sampled_from(["1", "1024Mi", "0.5", "5e3", "-1n"]),
            "time": st.just("2024-01-01T00:00:00Z"),
            "int-or-string": st.sampled_from([80, "http"]),
        }
        return sensible.get(node.type, scalars) | scalars
    if node.items is not None:
        return st.lists(values_for(node.items, depth - 1), max_size=2)
    if node.additional is not None:
        return st.dictionaries(st.text(max_size=3), values_for(node.additional, depth - 1), max_size=2)
    properties = node.properties or {}
    return st.lists(st.sampled_from(sorted(properties)), max_size=4, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: values_for(properties[name], depth - 1) for name in names})
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_real_types_take_or_refuse_anything(schemas: Schemas, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(schemas.gvks())))
    node = schemas.for_kind(*kind)
    obj = data.draw(values_for(node, 6))
    try:
        decode_check(node, obj)
    except ApiError:
        return
    apply_defaults(node, obj)
    validate(node, obj)
    assert decode_check(node, obj) == []
