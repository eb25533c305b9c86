from __future__ import annotations

from typing import Any

import pytest
from fake_api import FakeApi, run, settle
from hypothesis import given
from hypothesis import strategies as st

from kubernel.client.informer import Informer
from kubernel.errors import ServiceUnavailable


def names(objects: Any) -> list[str]:
    return [obj["metadata"]["name"] for obj in objects]


def test_holds_what_is_there_and_what_comes() -> None:
    async def check() -> None:
        api = FakeApi()
        api.put("pods", "a", "one")
        informer = Informer(api, api.clock, "pods")
        informer.start()
        await informer.synced()
        assert informer.get("a", "one")["metadata"]["uid"] == "uid-1"
        api.put("pods", "b", "two")
        await settle()
        assert names(informer.list()) == ["a", "b"]
        assert names(informer.list("two")) == ["b"]
        api.drop("pods", "a", "one")
        await settle()
        assert informer.get("a", "one") is None
        await informer.stop()

    run(check())


def test_finds_objects_by_controller_and_by_own_index() -> None:
    async def check() -> None:
        api = FakeApi()
        owner = {"ownerReferences": [{"uid": "o1", "controller": True}, {"uid": "o2"}]}
        api.put("pods", "a", "one", metadata=owner, node="n1")
        informer = Informer(api, api.clock, "pods")
        informer.start()
        await informer.synced()
        informer.add_index("node", lambda obj: [obj["node"]] if "node" in obj else [])
        assert names(informer.by("owner", "o1")) == ["a"]
        assert informer.by("owner", "o2") == []
        assert names(informer.by("node", "n1")) == ["a"]
        api.put("pods", "a", "one", node="n2")
        await settle()
        assert informer.by("owner", "o1") == []
        assert informer.by("node", "n1") == []
        assert names(informer.by("node", "n2")) == ["a"]
        with pytest.raises(KeyError):
            informer.by("unknown", "")
        await informer.stop()

    run(check())


def test_late_listeners_are_told_what_is_there() -> None:
    async def check() -> None:
        api = FakeApi()
        api.put("pods", "a")
        informer = Informer(api, api.clock, "pods")
        informer.start()
        await informer.synced()
        told: list[tuple[str, str]] = []
        remove = informer.add_listener(lambda what, obj, old: told.append((what, obj["metadata"]["name"])))
        api.put("pods", "a")
        await settle()
        remove()
        api.put("pods", "b")
        await settle()
        assert told == [("ADDED", "a"), ("MODIFIED", "a")]
        await informer.stop()

    run(check())


def test_lists_again_when_the_history_is_gone_and_tells_the_difference() -> None:
    async def check() -> None:
        api = FakeApi()
        for name in ("gone", "same", "changed", "reborn"):
            api.put("pods", name)
        informer = Informer(api, api.clock, "pods")
        informer.start()
        await informer.synced()
        told: list[tuple[str, str]] = []
        informer.add_listener(lambda what, obj, old: told.append((what, obj["metadata"]["name"])))
        told.clear()
        await settle()
        await informer.stop()
        api.drop("pods", "gone")
        api.put("pods", "changed")
        api.drop("pods", "reborn")
        api.put("pods", "reborn")
        api.put("pods", "new")
        informer.start()
        await settle()
        assert told == [
            ("DELETED", "gone"),
            ("MODIFIED", "changed"),
            ("ADDED", "new"),
            ("DELETED", "reborn"),
            ("ADDED", "reborn"),
        ]
        await informer.stop()

    run(check())


def test_keeps_trying_while_the_server_is_away() -> None:
    async def check() -> None:
        api = FakeApi()
        api.put("pods", "a")
        api.failures = [ServiceUnavailable("away")] * 5
        informer = Informer(api, api.clock, "pods")
        informer.start()
        await settle()
        assert not informer.has_synced
        await api.clock.advance(60, settle)
        assert names(informer.list()) == ["a"]
        await informer.stop()

    run(check())


NAMES = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES),
        st.tuples(st.just("drop"), NAMES),
        st.tuples(st.sampled_from(["break", "compact", "settle", "fail", "wait"]), st.just("")),
    ),
    max_size=40,
)


@given(STEPS)
def test_view_and_events_agree_with_the_server_whatever_breaks(steps: list[tuple[str, str]]) -> None:
    async def check() -> None:
        api = FakeApi()
        informer = Informer(api, api.clock, "pods")
        told: dict[str, Any] = {}

        def listen(type: str, obj: Any, old: Any) -> None:
            name = obj["metadata"]["name"]
            assert (type == "ADDED") == (name not in told)
            assert old is told.get(name)
            if type == "DELETED":
                del told[name]
            else:
                told[name] = obj

        informer.add_listener(listen)
        informer.start()
        for step, name in steps:
            if step == "put":
                api.put("pods", name)
            elif step == "drop" and ("pods", "", name) in api.objects:
                api.drop("pods", name)
            elif step == "break":
                api.break_watches()
            elif step == "compact":
                api.compact()
            elif step == "fail":
                api.failures.append(ServiceUnavailable("away"))
            elif step == "settle":
                await settle()
            elif step == "wait":
                await api.clock.advance(3, settle)
        api.break_watches()
        await api.clock.advance(600, settle)
        assert told == {key[2]: obj for key, obj in api.objects.items()}
        assert {obj["metadata"]["name"]: obj for obj in informer.list()} == told
        assert sorted(names(informer.by("namespace", ""))) == sorted(told)
        await informer.stop()

    run(check())
