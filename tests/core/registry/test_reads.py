"""Lists, chunks, selectors and watches, as a client sees them."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from registry_kit import USER, Kit, with_kit

from kubernel.errors import ApiError, BadRequest, Expired, ServerTimeout
from kubernel.registry.registry import ListOptions, WatchOptions
from kubernel.registry.request import DeleteOptions, WriteOptions


async def _fill(kit: Kit, count: int = 7) -> None:
    for number in range(count):
        site = "north" if number % 2 else "south"
        await kit.create(f"w{number}", metadata={"labels": {"n": str(number)}}, spec={"site": site})


def _names(records: Any) -> list[str]:
    return [record.key.name for record in records]


def test_a_list_is_in_the_order_of_names_and_says_its_revision() -> None:
    async def test(kit: Kit) -> None:
        for name in ("c", "a", "b"):
            await kit.create(name)
        page = await kit.registry.list(kit.type, "shop", ListOptions())
        assert (_names(page.records), page.revision) == (["a", "b", "c"], 3)

    with_kit(test)


def test_chunks_show_one_moment_whatever_is_written_in_between() -> None:
    async def test(kit: Kit) -> None:
        await _fill(kit)
        first = await kit.registry.list(kit.type, "shop", ListOptions(limit=3))
        assert (_names(first.records), first.remaining) == (["w0", "w1", "w2"], 4)
        await kit.create("w2a")
        await kit.registry.delete(USER, kit.type, "shop", "w5", DeleteOptions())
        second = await kit.registry.list(
            kit.type, "shop", ListOptions(limit=3, continue_token=first.continue_token)
        )
        assert (_names(second.records), second.revision) == (["w3", "w4", "w5"], first.revision)
        third = await kit.registry.list(
            kit.type, "shop", ListOptions(limit=3, continue_token=second.continue_token)
        )
        assert (_names(third.records), third.continue_token, third.remaining) == (["w6"], "", None)

    with_kit(test)


def test_an_expired_token_comes_with_one_that_goes_on() -> None:
    async def test(kit: Kit) -> None:
        await _fill(kit)
        first = await kit.registry.list(kit.type, "shop", ListOptions(limit=3))
        await kit.create("w2a")
        await kit.store.compact(kit.store.revision)
        with pytest.raises(Expired) as caught:
            await kit.registry.list(
                kit.type, "shop", ListOptions(limit=3, continue_token=first.continue_token)
            )
        assert caught.value.to_status()["reason"] == "Expired"
        token = caught.value.metadata["continue"]
        page = await kit.registry.list(kit.type, "shop", ListOptions(limit=3, continue_token=token))
        assert _names(page.records) == ["w2a", "w3", "w4"]
        assert page.revision > first.revision

    with_kit(test)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        pytest.param(ListOptions(labels="n=3"), ["w3"], id="equal"),
        pytest.param(ListOptions(labels="n in (1,2),n!=1"), ["w2"], id="sets"),
        pytest.param(ListOptions(fields="metadata.name=w4"), ["w4"], id="name"),
        pytest.param(ListOptions(fields="spec.site=north"), ["w1", "w3", "w5"], id="field"),
        pytest.param(
            ListOptions(fields="spec.site!=north,metadata.name!=w0"), ["w2", "w4", "w6"], id="unequal"
        ),
        pytest.param(ListOptions(fields="metadata.namespace=shop", labels="n=0"), ["w0"], id="both"),
    ],
)
def test_selectors_select(options: ListOptions, names: list[str]) -> None:
    async def test(kit: Kit) -> None:
        await _fill(kit)
        for namespace in ("shop", ""):
            assert _names((await kit.registry.list(kit.type, namespace, options)).records) == names

    with_kit(test)


def test_a_selected_list_is_chunked_too() -> None:
    async def test(kit: Kit) -> None:
        await _fill(kit)
        options = ListOptions(fields="spec.site=south", limit=3)
        first = await kit.registry.list(kit.type, "shop", options)
        assert (_names(first.records), first.remaining) == (["w0", "w2", "w4"], None)
        rest = await kit.registry.list(
            kit.type, "shop", ListOptions(fields="spec.site=south", continue_token=first.continue_token)
        )
        assert _names(rest.records) == ["w6"]

    with_kit(test)


def _token(**parts: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps({"v": "meta.k8s.io/v1", **parts})).decode()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param(ListOptions(labels="a=(b"), BadRequest, id="label selector"),
        pytest.param(ListOptions(fields="spec.color=red"), BadRequest, id="unknown field"),
        pytest.param(ListOptions(fields="nonsense"), BadRequest, id="field selector"),
        pytest.param(ListOptions(resource_version="abc"), BadRequest, id="resourceVersion"),
        pytest.param(ListOptions(resource_version="-1"), BadRequest, id="negative resourceVersion"),
        pytest.param(ListOptions(resource_version="999"), ServerTimeout, id="future resourceVersion"),
        pytest.param(ListOptions(continue_token="!!"), BadRequest, id="token of no base64"),
        pytest.param(ListOptions(continue_token="aGVsbG8"), BadRequest, id="token of no JSON"),
        pytest.param(
            ListOptions(continue_token=_token(rv="x", start="a/b")), BadRequest, id="token revision"
        ),
        pytest.param(ListOptions(continue_token=_token(rv=1)), BadRequest, id="token without start"),
        pytest.param(ListOptions(match="Exact"), BadRequest, id="Exact without resourceVersion"),
        pytest.param(ListOptions(limit=-1), BadRequest, id="negative limit"),
    ],
)
def test_wrong_list_options_are_refused(options: ListOptions, error: type[ApiError]) -> None:
    async def test(kit: Kit) -> None:
        await _fill(kit, 2)
        with pytest.raises(error):
            await kit.registry.list(kit.type, "shop", options)

    with_kit(test)


def test_exact_lists_the_past() -> None:
    async def test(kit: Kit) -> None:
        await _fill(kit, 3)
        page = await kit.registry.list(kit.type, "shop", ListOptions(resource_version="2", match="Exact"))
        assert (_names(page.records), page.revision) == (["w0", "w1"], 2)

    with_kit(test)


async def _drain(watch: Any, count: int) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    while len(seen) < count:
        seen += [(item.type, item.record.key.name) for item in await watch.next()]
    return seen


def test_a_watch_tells_what_came_after_its_revision() -> None:
    async def test(kit: Kit) -> None:
        await _fill(kit, 2)
        watch = await kit.registry.watch(kit.type, "shop", WatchOptions(resource_version="1"))
        assert list(watch.initial) == []
        await kit.registry.delete(USER, kit.type, "shop", "w0", DeleteOptions())
        assert await _drain(watch, 2) == [("ADDED", "w1"), ("DELETED", "w0")]
        watch.close()

    with_kit(test)


def test_a_watch_without_a_revision_starts_with_what_there_is() -> None:
    async def test(kit: Kit) -> None:
        await _fill(kit, 2)
        watch = await kit.registry.watch(kit.type, "shop", WatchOptions())
        assert _names(watch.initial) == ["w0", "w1"]
        await kit.create("w9")
        assert await _drain(watch, 1) == [("ADDED", "w9")]
        watch.close()

    with_kit(test)


def test_entering_and_leaving_a_selection_are_added_and_deleted() -> None:
    async def test(kit: Kit) -> None:
        watch = await kit.registry.watch(
            kit.type, "shop", WatchOptions(resource_version="0", labels="on=yes")
        )
        options = WriteOptions()
        await kit.create("one")
        for value in ("yes", "yes", "no"):
            patch = {"metadata": {"labels": {"on": value}, "annotations": {"at": str(kit.store.revision)}}}
            await kit.registry.patch(USER, kit.type, "shop", "one", "merge", patch, options)
        items: list[Any] = []
        while len(items) < 3:
            items += await watch.next()
        assert [item.type for item in items] == ["ADDED", "MODIFIED", "DELETED"]
        left = items[-1].record.obj["metadata"]
        assert left["labels"] == {"on": "yes"}, "it is sent as it was in the selection"
        assert left["resourceVersion"] == str(kit.store.revision)
        watch.close()

    with_kit(test)


def test_a_watch_from_the_future_is_told_to_wait_and_from_nowhere_refused() -> None:
    async def test(kit: Kit) -> None:
        with pytest.raises(ServerTimeout, match="Too large resource version: 50, current: 0"):
            await kit.registry.watch(kit.type, "shop", WatchOptions(resource_version="50"))
        with pytest.raises(BadRequest, match="invalid resource version"):
            await kit.registry.watch(kit.type, "shop", WatchOptions(resource_version="x"))

    with_kit(test)


def test_the_latest_version_of_a_type_is_preferred() -> None:
    from kubernel.registry.typetable import version_rank

    versions = ["v1alpha1", "v2", "v1", "v1beta1", "v10", "v1beta2", "foo", "v2beta1"]
    ordered = sorted(versions, key=version_rank, reverse=True)
    assert ordered == ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1beta1", "v1alpha1", "foo"]
