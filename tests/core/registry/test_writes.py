"""Create, update, patch and their rules, as a client sees them."""

from __future__ import annotations

from typing import Any

import pytest
from registry_kit import USER, Kit, widget, with_kit

from kubernel.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    UnnamedError,
)
from kubernel.registry.registry import ListOptions
from kubernel.registry.request import DeleteOptions, Request, WriteOptions


def test_a_created_object_gets_what_the_server_sets() -> None:
    async def test(kit: Kit) -> None:
        obj = await kit.create("one", metadata={"uid": "mine", "generation": 9, "selfLink": "/x"})
        meta = obj["metadata"]
        assert meta["uid"] != "mine"
        assert len(meta["uid"]) == 36
        assert meta["creationTimestamp"] == "2026-01-01T00:00:00Z"
        assert meta["generation"] == 1
        assert meta["resourceVersion"] == "1"
        assert meta["namespace"] == "shop"
        assert "selfLink" not in meta
        assert obj["spec"]["size"] == 1

    with_kit(test)


def test_a_body_that_does_not_say_what_it_is_is_what_the_path_says() -> None:
    async def test(kit: Kit) -> None:
        result = await kit.post({**widget("x"), "kind": "", "apiVersion": None})
        obj = result.record.obj
        assert (obj["apiVersion"], obj["kind"]) == (kit.type.api_version, kit.type.kind)

    with_kit(test)


def test_status_sent_at_creation_is_dropped() -> None:
    async def test(kit: Kit) -> None:
        obj = await kit.create("one", status={"phase": "Done"})
        assert "status" not in obj

    with_kit(test)


def test_a_second_object_of_the_name_is_refused() -> None:
    async def test(kit: Kit) -> None:
        await kit.create("one")
        with pytest.raises(AlreadyExists, match=r'widgets.example.com "one" already exists'):
            await kit.create("one")

    with_kit(test)


def test_generate_name_makes_distinct_names_from_the_alphabet() -> None:
    async def test(kit: Kit) -> None:
        names = set()
        for _ in range(20):
            obj = await kit.create("", metadata={"generateName": "w-"})
            names.add(obj["metadata"]["name"])
        assert len(names) == 20
        assert all(set(name[2:]) <= set("bcdfghjklmnpqrstvwxz2456789") for name in names)

    with_kit(test)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param({"apiVersion": "v2"}, BadRequest, 'is registered for version "v2"', id="wrong version"),
        pytest.param({"kind": "Gadget"}, BadRequest, "cannot be handled as a Widget", id="wrong kind"),
        pytest.param(
            {"metadata": {"name": "x", "namespace": "other"}},
            BadRequest,
            "the namespace of the provided object does not match",
            id="wrong namespace",
        ),
        pytest.param({"metadata": {}}, Invalid, "name or generateName is required", id="no name"),
        pytest.param({"metadata": {"name": "A_b"}}, Invalid, "RFC 1123 subdomain", id="bad name"),
        pytest.param(
            {"metadata": {"name": "x", "labels": {"a": "b c"}}}, Invalid, "metadata.labels", id="bad label"
        ),
        pytest.param(
            {"metadata": {"name": "x", "finalizers": ["mine"]}},
            Invalid,
            "neither a standard finalizer name",
            id="bad finalizer",
        ),
        pytest.param(
            {"metadata": {"name": "x", "annotations": {"big": "x" * 300_000}}},
            Invalid,
            "Too long: may not be more than 262144 bytes",
            id="annotations too long",
        ),
        pytest.param(
            {"metadata": {"name": "x", "ownerReferences": [{"kind": "A"}]}},
            Invalid,
            r"metadata.ownerReferences\[0\].uid",
            id="owner without uid",
        ),
        pytest.param({"spec": {"color": "green"}}, Invalid, "Unsupported value", id="enum"),
        pytest.param({"spec": {"size": "big"}}, Invalid, "must be of type integer", id="wrong type"),
        pytest.param(
            {"metadata": {"name": "x", "resourceVersion": "3"}},
            UnnamedError,
            "resourceVersion should not be set",
            id="resourceVersion at creation",
        ),
    ],
)
def test_a_wrong_body_is_refused_and_changes_nothing(
    change: dict[str, Any], error: type[ApiError], message: str
) -> None:
    async def test(kit: Kit) -> None:
        with pytest.raises(error, match=message):
            await kit.post({**widget("x"), **change})
        assert kit.store.revision == 0

    with_kit(test)


@pytest.mark.parametrize("mode", ["Ignore", "Warn", "Strict"])
def test_unknown_and_duplicate_fields_are_told_as_the_mode_says(mode: str) -> None:
    async def test(kit: Kit) -> None:
        body = widget("x", spec={"color": "red", "shape": "round"})
        raw = (
            b'{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"x"},'
            b'"spec":{"color":"blue","color":"red","shape":"round"}}'
        )
        options = WriteOptions(field_manager="test", field_validation=mode)  # type: ignore[arg-type]
        if mode == "Strict":
            with pytest.raises(BadRequest) as caught:
                await kit.registry.create(USER, kit.type, "shop", body, options, raw=raw)
            assert caught.value.message.endswith(
                'strict decoding error: unknown field "spec.shape", duplicate field "spec.color"'
            )
            return
        result = await kit.registry.create(USER, kit.type, "shop", body, options, raw=raw)
        assert "shape" not in result.record.obj["spec"]
        told = ('unknown field "spec.shape"', 'duplicate field "spec.color"')
        assert result.warnings == (told if mode == "Warn" else ())

    with_kit(test)


def test_an_update_with_a_stale_resource_version_is_a_conflict() -> None:
    async def test(kit: Kit) -> None:
        first = await kit.create("one")
        await kit.update({**first, "spec": {"color": "blue"}})
        with pytest.raises(Conflict, match="the object has been modified; please apply your changes"):
            await kit.update({**first, "spec": {"color": "red"}})

    with_kit(test)


def test_an_update_without_a_resource_version_is_taken_as_it_is() -> None:
    async def test(kit: Kit) -> None:
        await kit.create("one")
        obj = await kit.update(widget("one", spec={"color": "blue"}))
        assert obj["spec"]["color"] == "blue"

    with_kit(test)


def test_a_type_may_demand_the_resource_version() -> None:
    async def test(kit: Kit) -> None:
        kit.type.strategy.unconditional_update = False
        await kit.create("one")
        with pytest.raises(
            Invalid, match=r'^widgets\S* "one" is invalid: metadata.resourceVersion: .*must be specified'
        ):
            await kit.update(widget("one"))

    with_kit(test)


def test_an_update_that_changes_nothing_keeps_the_resource_version() -> None:
    async def test(kit: Kit) -> None:
        first = await kit.create("one")
        again = await kit.update(first)
        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        assert kit.store.revision == 1

    with_kit(test)


def test_generation_counts_changes_of_the_spec_only() -> None:
    async def test(kit: Kit) -> None:
        obj = await kit.create("one")
        obj = await kit.update({**obj, "metadata": {**obj["metadata"], "labels": {"a": "b"}}})
        assert obj["metadata"]["generation"] == 1
        obj = await kit.update({**obj, "status": {"phase": "Up"}}, subresource="status")
        assert (obj["metadata"]["generation"], obj["status"]) == (1, {"phase": "Up"})
        obj = await kit.update({**obj, "spec": {"color": "blue"}})
        assert obj["metadata"]["generation"] == 2

    with_kit(test)


def test_each_endpoint_writes_its_own_part_only() -> None:
    async def test(kit: Kit) -> None:
        obj = await kit.create("one")
        obj = await kit.update({**obj, "spec": {"color": "blue"}, "status": {"phase": "A"}}, "status")
        assert obj["spec"]["color"] == "red"
        obj = await kit.update({**obj, "spec": {"color": "blue"}, "status": {"phase": "B"}})
        assert (obj["spec"]["color"], obj["status"]) == ("blue", {"phase": "A"})

    with_kit(test)


def test_an_update_of_what_is_not_there_is_not_found_unless_the_type_creates() -> None:
    async def test(kit: Kit) -> None:
        with pytest.raises(NotFound, match=r'widgets.example.com "one" not found'):
            await kit.update(widget("one"))
        kit.type.strategy.create_on_update = True
        obj = await kit.update(widget("one"))
        assert obj["metadata"]["generation"] == 1

    with_kit(test)


def test_a_wrong_uid_in_an_update_is_a_conflict() -> None:
    async def test(kit: Kit) -> None:
        obj = await kit.create("one")
        obj = {**obj, "metadata": {**obj["metadata"], "uid": "other"}}
        with pytest.raises(Conflict, match="Precondition failed: UID in precondition: other"):
            await kit.update(obj)

    with_kit(test)


def test_dry_run_answers_as_if_and_keeps_nothing() -> None:
    async def test(kit: Kit) -> None:
        result = await kit.post(widget("one"), dry_run=True)
        assert result.record.obj["spec"]["size"] == 1
        assert kit.store.revision == 0
        obj = await kit.create("one")
        updated = await kit.update({**obj, "spec": {"color": "blue"}}, dry_run=True)
        assert updated["spec"]["color"] == "blue"
        await kit.registry.delete(USER, kit.type, "shop", "one", DeleteOptions(dry_run=True))
        assert kit.registry.get(kit.type, "shop", "one").obj["spec"]["color"] == "red"

    with_kit(test)


def test_admission_may_change_and_refuse() -> None:
    async def test(kit: Kit) -> None:
        def admit(request: Request) -> None:
            assert request.obj is not None
            request.obj["spec"]["site"] = "north"

        def validate(request: Request) -> None:
            if request.name == "bad":
                raise Forbidden.for_object("widgets", "example.com", "bad", "not today")

        kit.hooks.on_admit, kit.hooks.on_validate = admit, validate
        assert (await kit.create("one"))["spec"]["site"] == "north"
        with pytest.raises(Forbidden, match=r'widgets.example.com "bad" is forbidden: not today'):
            await kit.create("bad")

    with_kit(test)


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        pytest.param("merge", {"spec": {"color": "blue"}}, id="merge"),
        pytest.param("strategic", {"spec": {"color": "blue"}}, id="strategic"),
        pytest.param("json", [{"op": "replace", "path": "/spec/color", "value": "blue"}], id="json"),
        pytest.param(
            "apply",
            {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"color": "blue"}},
            id="apply",
        ),
    ],
)
def test_every_kind_of_patch_changes_the_object(kind: Any, patch: Any) -> None:
    async def test(kit: Kit) -> None:
        await kit.create("one", spec={"color": "red", "site": "north"})
        options = WriteOptions(field_manager="patcher", force=True)
        result = await kit.registry.patch(USER, kit.type, "shop", "one", kind, patch, options)
        assert result.record.obj["spec"] == {"color": "blue", "site": "north", "size": 1}
        assert result.record.obj["metadata"]["generation"] == 2

    with_kit(test)


def test_apply_creates_what_is_not_there() -> None:
    async def test(kit: Kit) -> None:
        body = {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"color": "red"}}
        options = WriteOptions(field_manager="me")
        with pytest.raises(BadRequest, match="name must be provided"):
            await kit.registry.patch(USER, kit.type, "shop", "one", "apply", body, options)
        body = {**body, "metadata": {"name": "one"}}
        result = await kit.registry.patch(USER, kit.type, "shop", "one", "apply", body, options)
        assert result.created
        again = await kit.registry.patch(USER, kit.type, "shop", "one", "apply", body, options)
        assert not again.created
        assert again.record.revision == result.record.revision

    with_kit(test)


def test_apply_needs_a_field_manager() -> None:
    async def test(kit: Kit) -> None:
        body = {"apiVersion": "example.com/v1", "kind": "Widget"}
        with pytest.raises(Invalid, match="fieldManager: Required value: is required for apply patch"):
            await kit.registry.patch(
                USER, kit.type, "shop", "one", "apply", body, WriteOptions(field_manager="")
            )

    with_kit(test)


def test_a_patch_with_a_stale_resource_version_is_a_conflict() -> None:
    async def test(kit: Kit) -> None:
        await kit.create("one")
        patch = {"metadata": {"resourceVersion": "7"}, "spec": {"color": "blue"}}
        with pytest.raises(Conflict):
            await kit.registry.patch(USER, kit.type, "shop", "one", "merge", patch, WriteOptions())

    with_kit(test)


def test_scale_reads_and_writes_the_replicas() -> None:
    async def test(kit: Kit) -> None:
        await kit.create("one", spec={"color": "red", "replicas": 2})
        _, view = await kit.registry.get_subresource(kit.type, "shop", "one", "scale")
        assert view is not None
        assert view["spec"] == {"replicas": 2}
        options = WriteOptions()
        result = await kit.registry.patch(
            USER, kit.type, "shop", "one", "merge", {"spec": {"replicas": 5}}, options, subresource="scale"
        )
        assert result.obj is not None
        assert result.obj["spec"] == {"replicas": 5}
        stale = {**result.obj, "metadata": {**result.obj["metadata"], "resourceVersion": "1"}}
        with pytest.raises(Conflict):
            await kit.registry.update(USER, kit.type, "shop", "one", stale, options, subresource="scale")

    with_kit(test)


def test_stored_objects_are_never_changed_by_later_writes() -> None:
    async def test(kit: Kit) -> None:
        first = await kit.create("one", spec={"color": "red", "tags": ["a"]})
        before = dict(first["spec"])
        for patch in (
            {"spec": {"tags": ["b"]}},
            {"spec": {"tags": None}},
            {"metadata": {"labels": {"x": "y"}}},
        ):
            await kit.registry.patch(USER, kit.type, "shop", "one", "merge", patch, WriteOptions())
        assert first["spec"] == before
        with pytest.raises(TypeError):
            first["spec"]["color"] = "blue"

    with_kit(test)


def test_deletion_answers_with_a_status_naming_the_uid() -> None:
    async def test(kit: Kit) -> None:
        obj = await kit.create("one")
        result = await kit.registry.delete(USER, kit.type, "shop", "one", DeleteOptions())
        assert result.status is not None
        assert result.status["details"] == {
            "name": "one",
            "group": "example.com",
            "kind": "widgets",
            "uid": obj["metadata"]["uid"],
        }
        with pytest.raises(NotFound):
            kit.registry.get(kit.type, "shop", "one")

    with_kit(test)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(DeleteOptions(uid="other"), id="uid"),
        pytest.param(DeleteOptions(resource_version="99"), id="resourceVersion"),
    ],
)
def test_a_deletion_whose_precondition_fails_is_a_conflict(options: DeleteOptions) -> None:
    async def test(kit: Kit) -> None:
        await kit.create("one")
        with pytest.raises(Conflict, match="in the precondition"):
            await kit.registry.delete(USER, kit.type, "shop", "one", options)

    with_kit(test)


def test_a_finalizer_holds_the_object_until_it_is_taken_off() -> None:
    async def test(kit: Kit) -> None:
        await kit.create("one", metadata={"finalizers": ["example.com/hold"]})
        result = await kit.registry.delete(USER, kit.type, "shop", "one", DeleteOptions())
        obj = result.record.obj
        assert result.status is None
        assert obj["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"
        assert obj["metadata"]["generation"] == 2
        revision = kit.store.revision
        await kit.registry.delete(USER, kit.type, "shop", "one", DeleteOptions())
        assert kit.store.revision == revision, "a second deletion changes nothing"
        more = {**obj, "metadata": {**obj["metadata"], "finalizers": ["example.com/hold", "example.com/x"]}}
        with pytest.raises(AlreadyExists) as taken:
            await kit.create("one")
        assert taken.value.message == 'object is being deleted: widgets.example.com "one" already exists'
        with pytest.raises(Invalid, match="no new finalizers can be added if the object is being deleted"):
            await kit.update(more)
        await kit.update({**obj, "metadata": {**obj["metadata"], "finalizers": []}})
        with pytest.raises(NotFound):
            kit.registry.get(kit.type, "shop", "one")

    with_kit(test)


def test_grace_marks_first_and_removes_when_it_is_over() -> None:
    async def test(kit: Kit) -> None:
        kit.type.strategy.grace = 30  # type: ignore[attr-defined]
        await kit.create("one")
        first = await kit.registry.delete(USER, kit.type, "shop", "one", DeleteOptions())
        meta = first.record.obj["metadata"]
        assert meta["deletionTimestamp"] == "2026-01-01T00:00:30Z"
        assert meta["deletionGracePeriodSeconds"] == 30
        shorter = await kit.registry.delete(USER, kit.type, "shop", "one", DeleteOptions(grace_period=5))
        assert shorter.record.obj["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:05Z"
        await kit.registry.delete(USER, kit.type, "shop", "one", DeleteOptions(grace_period=0))
        with pytest.raises(NotFound):
            kit.registry.get(kit.type, "shop", "one")

    with_kit(test)


@pytest.mark.parametrize(
    ("policy", "finalizers"),
    [
        pytest.param("Foreground", ["foregroundDeletion"], id="foreground"),
        pytest.param("Orphan", ["orphan"], id="orphan"),
    ],
)
def test_propagation_policies_become_finalizers(policy: Any, finalizers: list[str]) -> None:
    async def test(kit: Kit) -> None:
        await kit.create("one")
        result = await kit.registry.delete(USER, kit.type, "shop", "one", DeleteOptions(propagation=policy))
        assert result.record.obj["metadata"]["finalizers"] == finalizers

    with_kit(test)


def test_delete_collection_deletes_what_the_selector_selects() -> None:
    async def test(kit: Kit) -> None:
        for number in range(6):
            await kit.create(f"w{number}", metadata={"labels": {"odd": str(number % 2)}})
        gone = await kit.registry.delete_collection(
            USER, kit.type, "shop", ListOptions(labels="odd=1"), DeleteOptions()
        )
        assert [record.key.name for record in gone] == ["w1", "w3", "w5"]
        page = await kit.registry.list(kit.type, "shop", ListOptions())
        assert [record.key.name for record in page.records] == ["w0", "w2", "w4"]

    with_kit(test)
