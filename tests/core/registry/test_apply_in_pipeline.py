"""Applies and managed fields on their way through the registry."""

from __future__ import annotations

from typing import Any

import pytest
from registry_kit import USER, Kit, with_kit

from kubernel.errors import Conflict
from kubernel.registry.request import WriteOptions


def body(**parts: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "one"}, **parts}


async def apply(
    kit: Kit, config: Any, manager: str = "me", subresource: str = "", force: bool = False
) -> Any:
    options = WriteOptions(field_manager=manager, force=force)
    result = await kit.registry.patch(
        USER, kit.type, "shop", "one", "apply", config, options, subresource=subresource
    )
    return result.record


def owners(record: Any) -> dict[tuple[str, str], Any]:
    entries = record.obj["metadata"]["managedFields"]
    return {(entry["manager"], entry.get("subresource", "")): entry["fieldsV1"] for entry in entries}


def test_status_in_a_manifest_is_neither_written_nor_owned() -> None:
    async def test(kit: Kit) -> None:
        record = await apply(kit, body(spec={"color": "red"}, status={"phase": "Fine"}))
        assert "status" not in record.obj
        assert owners(record) == {("me", ""): {"f:spec": {"f:color": {}}}}
        record = await apply(kit, body(status={"phase": "Done"}), "controller", "status")
        assert record.obj["status"] == {"phase": "Done"}
        record = await apply(kit, body(spec={"color": "red"}, status={"phase": "Fine"}))
        assert record.obj["status"] == {"phase": "Done"}
        assert owners(record)[("controller", "status")] == {"f:status": {"f:phase": {}}}

    with_kit(test)


def test_a_conflict_changes_nothing() -> None:
    async def test(kit: Kit) -> None:
        before = await apply(kit, body(spec={"color": "red"}))
        with pytest.raises(Conflict) as caught:
            await apply(kit, body(spec={"color": "blue"}), "other")
        assert caught.value.to_status()["details"]["causes"] == [
            {"reason": "FieldManagerConflict", "message": 'conflict with "me"', "field": ".spec.color"}
        ]
        after = await apply(kit, body(spec={"color": "red"}))
        assert after.revision == before.revision

    with_kit(test)


def test_a_dropped_field_disappears_and_another_managers_stays() -> None:
    async def test(kit: Kit) -> None:
        await apply(kit, body(spec={"color": "red", "size": 3}))
        await apply(kit, body(spec={"site": "north"}), "other")
        record = await apply(kit, body(spec={"color": "red"}))
        assert "size" not in record.obj["spec"] or record.obj["spec"]["size"] != 3
        assert record.obj["spec"]["site"] == "north"

    with_kit(test)


def test_an_update_takes_ownership_until_it_is_forced_back() -> None:
    async def test(kit: Kit) -> None:
        record = await apply(kit, body(spec={"color": "red"}))
        options = WriteOptions(field_manager="editor")
        patch = {"spec": {"color": "blue"}}
        result = await kit.registry.patch(USER, kit.type, "shop", "one", "merge", patch, options)
        assert owners(result.record) == {("editor", ""): {"f:spec": {"f:color": {}}}}
        with pytest.raises(Conflict, match=r'conflict with "editor" using example\.com/v1: \.spec\.color'):
            await apply(kit, body(spec={"color": "red"}))
        record = await apply(kit, body(spec={"color": "red"}), force=True)
        assert owners(record) == {("me", ""): {"f:spec": {"f:color": {}}}}

    with_kit(test)
