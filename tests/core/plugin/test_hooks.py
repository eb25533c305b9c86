"""Hooks: who is asked, in which order, and what an answer or an exception does."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import pytest

from kubernel.errors import Forbidden, PluginError
from kubernel.plugin import Plugin, hookimpl
from kubernel.plugin.manager import Hooks
from kubernel.registry.attributes import ALLOW, Attributes, Credentials, Decision
from kubernel.registry.request import ANONYMOUS, UserInfo


def registered(*plugins: Plugin, failed: Any = None) -> Hooks:
    hooks = Hooks(failed)
    hooks.register([(f"controller/{number}", plugin) for number, plugin in enumerate(plugins)])
    return hooks


def plugin(**methods: Any) -> Plugin:
    """A plugin with these hooks."""
    body = {name: hookimpl(function) for name, function in methods.items()}
    return type("Made", (Plugin,), body)(None, None)  # type: ignore[arg-type, no-any-return]


def ask(decision: Decision | None) -> Plugin:
    return plugin(kubernel_authorize=lambda self, attributes: decision)


class Seen(list[str]):
    """Stands for a request and remembers who was asked."""

    reinvoke = reinvoking = False


ATTRIBUTES = Attributes(ANONYMOUS, "get", resource="pods")


def test_kubernel_register_types_is_called_in_configuration_order() -> None:
    seen: list[Any] = []
    first = plugin(kubernel_register_types=lambda self, registry: seen.append((1, registry)))
    second = plugin(kubernel_register_types=lambda self, registry: seen.append((2, registry)))
    registered(first, second).register_types("registry")  # type: ignore[arg-type]
    assert seen == [(1, "registry"), (2, "registry")]


def test_a_plugin_that_fails_to_register_its_types_is_named() -> None:
    def broken(self: Any, registry: Any) -> None:
        raise RuntimeError("no schema")

    with pytest.raises(
        PluginError, match="plugin controller/0 failed to register its types: RuntimeError: no schema"
    ):
        registered(plugin(kubernel_register_types=broken)).register_types(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("hook", ["admit", "validate"])
def test_kubernel_admit_and_kubernel_validate_go_in_order_whether_they_wait_or_not(hook: str) -> None:
    async def slowly(self: Any, request: Any) -> None:
        await asyncio.sleep(0)
        request.append("slow")

    plugins = [
        plugin(**{f"kubernel_{hook}": slowly}),
        plugin(**{f"kubernel_{hook}": lambda self, request: request.append("quick")}),
    ]
    seen = Seen()
    asyncio.run(getattr(registered(*plugins), hook)(seen))
    assert seen == ["slow", "quick"]


def test_all_are_asked_a_second_time_when_one_wants_it_and_no_third_time() -> None:
    def again(self: Any, request: Any) -> None:
        request.append("second" if request.reinvoking else "first")
        request.reinvoke = True

    seen = Seen()
    hooks = registered(
        plugin(kubernel_admit=lambda self, request: request.append("quick")), plugin(kubernel_admit=again)
    )
    asyncio.run(hooks.admit(seen))  # type: ignore[arg-type]
    assert seen == ["quick", "first", "quick", "second"]
    asyncio.run(hooks.admit(seen))  # type: ignore[arg-type]
    assert seen[4:] == ["quick", "first", "quick", "second"], "a write that is tried again begins anew"


def test_a_refusal_keeps_the_next_from_being_asked() -> None:
    seen = Seen()

    def refuse(self: Any, request: Any) -> None:
        raise Forbidden("no")

    later = plugin(kubernel_admit=lambda self, request: request.append("later"))
    with pytest.raises(Forbidden):
        asyncio.run(registered(plugin(kubernel_admit=refuse), later).admit(seen))
    assert seen == []


def test_kubernel_authenticate_takes_the_first_answer() -> None:
    async def knows(self: Any, credentials: Any) -> UserInfo:
        return UserInfo("jane")

    nobody = plugin(kubernel_authenticate=lambda self, credentials: None)
    other = plugin(kubernel_authenticate=lambda self, credentials: UserInfo("john"))
    hooks = registered(nobody, plugin(kubernel_authenticate=knows), other)
    assert asyncio.run(hooks.authenticate(Credentials(token="x"))) == UserInfo("jane")
    assert asyncio.run(registered(nobody).authenticate(Credentials())) is None


def test_kubernel_authorize_stops_at_the_first_answer() -> None:
    denied = Decision(False, "not you")
    assert registered(ask(None), ask(ALLOW), ask(denied)).authorize(ATTRIBUTES) is ALLOW
    assert registered(ask(denied), ask(ALLOW)).authorize(ATTRIBUTES) is denied


def test_nobody_answers_is_a_denial_with_everyones_reasons() -> None:
    hooks = registered(
        ask(Decision(False, "no role", final=False)), ask(Decision(False, "no node", final=False))
    )
    assert hooks.authorize(ATTRIBUTES) == Decision(False, "no role, no node", final=False)
    assert registered().authorize(ATTRIBUTES) == Decision(False, final=False)
    assert hooks.authorizes


def test_a_broken_authorizer_neither_allows_nor_keeps_others_from_answering() -> None:
    failures: list[str] = []

    def broken(self: Any, attributes: Any) -> Decision:
        raise RuntimeError("oops")

    hooks = registered(plugin(kubernel_authorize=broken), failed=lambda label, error: failures.append(label))
    assert not hooks.authorize(ATTRIBUTES).allowed
    hooks = registered(plugin(kubernel_authorize=broken), ask(ALLOW))
    assert hooks.authorize(ATTRIBUTES).allowed
    assert failures == ["controller/0"]


def test_kubernel_unlisted_rules_are_told_once_each() -> None:
    hooks = registered(
        plugin(kubernel_unlisted_rules=lambda self, user: f"not all of {user.name}"),
        plugin(kubernel_unlisted_rules=lambda self, user: None),
        plugin(kubernel_unlisted_rules=lambda self, user: "not all of jane"),
    )
    assert hooks.unlisted_rules(UserInfo("jane")) == ["not all of jane"]


def test_kubernel_client_authorities_are_put_together() -> None:
    hooks = registered(
        plugin(kubernel_client_authorities=lambda self: b"one"),
        plugin(kubernel_client_authorities=lambda self: None),
        plugin(kubernel_client_authorities=lambda self: b"two"),
    )
    assert hooks.client_authorities() == b"one\ntwo\n"
    assert registered().client_authorities() == b""


def test_kubernel_certificate_authority_and_kubernel_node_streams_take_the_first_answer() -> None:
    hooks = registered(
        plugin(kubernel_node_streams=lambda self, node: "one" if node == "a" else None),
        plugin(kubernel_node_streams=lambda self, node: "two"),
        plugin(kubernel_certificate_authority=lambda self: "ca"),
    )
    assert (hooks.node_streams("a"), hooks.node_streams("b")) == ("one", "two")
    assert hooks.certificate_authority() == "ca"
    assert registered().certificate_authority() is None


def test_kubernel_document_takes_the_first_answer() -> None:
    found = ("application/json", b"{}")
    hooks = registered(
        plugin(kubernel_document=lambda self, path: None),
        plugin(kubernel_document=lambda self, path: found if path == "/keys" else None),
    )
    assert hooks.document("/keys") == found
    assert hooks.document("/other") is None


def test_kubernel_scheduler_policy_asks_everyone_in_order() -> None:
    hooks = registered(
        plugin(kubernel_scheduler_policy=lambda self: "first"),
        plugin(kubernel_scheduler_policy=lambda self: None),
        plugin(kubernel_scheduler_policy=lambda self: "second"),
    )
    assert hooks.scheduler_policies() == ["first", "second"]


def test_kubernel_metrics_are_joined_and_a_failing_plugin_is_left_out() -> None:
    failures: list[str] = []

    def broken(self: Any) -> str:
        raise RuntimeError("oops")

    hooks = registered(
        plugin(kubernel_metrics=lambda self: "a 1"),
        plugin(kubernel_metrics=broken),
        plugin(kubernel_metrics=lambda self: None),
        plugin(kubernel_metrics=lambda self: "b 2\n"),
        failed=lambda label, error: failures.append(f"{label}: {error}"),
    )
    assert hooks.metrics() == "a 1\nb 2\n"
    assert failures == ["controller/1: oops"]


def test_metrics_of_one_name_stand_together_whoever_counts_them() -> None:
    def counter(name: str, count: int) -> str:
        return f'# HELP lost Counter.\n# TYPE lost counter\nlost{{plugin="{name}"}} {count}\n'

    hooks = registered(
        plugin(kubernel_metrics=lambda self: counter("log", 1) + "# HELP other Gauge.\nother 3\n"),
        plugin(kubernel_metrics=lambda self: counter("webhook", 2)),
    )
    assert hooks.metrics() == (
        '# HELP lost Counter.\n# TYPE lost counter\nlost{plugin="log"} 1\nlost{plugin="webhook"} 2\n'
        "# HELP other Gauge.\nother 3\n"
    )


def test_kubernel_cli_adds_subcommands() -> None:
    def add(self: Any, commands: Any) -> None:
        commands.add_parser("hello").set_defaults(run=lambda args: 7)

    parser = argparse.ArgumentParser()
    registered(plugin(kubernel_cli=add)).cli(parser.add_subparsers())
    args = parser.parse_args(["hello"])
    assert args.run(args) == 7


def test_an_implementation_may_leave_arguments_out() -> None:
    assert registered(plugin(kubernel_node_streams=lambda self: "all")).node_streams("a") == "all"


def test_first_and_last_wishes_are_respected() -> None:
    class First(Plugin):
        @hookimpl(tryfirst=True)
        def kubernel_admit(self, request: Any) -> None:
            request.append("first")

    class Last(Plugin):
        @hookimpl(trylast=True)
        def kubernel_admit(self, request: Any) -> None:
            request.append("last")

    middle = plugin(kubernel_admit=lambda self, request: request.append("middle"))
    seen = Seen()
    hooks = registered(Last(None, None), middle, First(None, None))  # type: ignore[arg-type]
    asyncio.run(hooks.admit(seen))
    assert seen == ["first", "middle", "last"]


def test_a_misspelt_hook_is_refused_with_what_is_meant() -> None:
    with pytest.raises(PluginError) as refusal:
        registered(plugin(kubernel_admitt=lambda self, request: None))
    assert str(refusal.value) == (
        'plugin controller/0: there is no hook "kubernel_admitt"; did you mean "kubernel_admit"?'
    )


def test_a_wrong_argument_is_refused() -> None:
    with pytest.raises(PluginError, match=r"plugin controller/0: .*kubernel_admit.*\n.*requst"):
        registered(plugin(kubernel_admit=lambda self, requst: None))


def test_a_wrapper_is_refused() -> None:
    class Wrapper(Plugin):
        @hookimpl(wrapper=True)
        def kubernel_metrics(self) -> Any:
            return (yield)

    with pytest.raises(PluginError, match="plugin controller/0: kubernel_metrics is a hook wrapper"):
        registered(Wrapper(None, None))  # type: ignore[arg-type]


def test_registering_evaluates_no_property() -> None:
    class Shy(Plugin):
        @property
        def secret(self) -> str:
            raise AssertionError("read")

    assert registered(Shy(None, None)).implementers("kubernel_admit") == []  # type: ignore[arg-type]


def test_kubernel_node_usage_joins_what_all_nodes_say_and_leaves_out_who_fails() -> None:
    def fails(self: Any) -> Any:
        raise RuntimeError("no /proc")

    hooks = registered(
        plugin(kubernel_node_usage=lambda self: ["a", "b"]),
        plugin(kubernel_node_usage=fails),
        plugin(kubernel_node_usage=lambda self: None),
        plugin(kubernel_node_usage=lambda self: ["c"]),
    )
    assert hooks.node_usage() == ["a", "b", "c"]


def test_kubernel_remote_api_takes_the_first_answer() -> None:
    hooks = registered(
        plugin(kubernel_remote_api=lambda self, path, user: None),
        plugin(kubernel_remote_api=lambda self, path, user: f"{user} {path}"),
    )
    assert hooks.remote_api("/apis/x", "me") == "me /apis/x"  # type: ignore[arg-type]
    assert registered().remote_api("/apis/x", "me") is None  # type: ignore[arg-type]


def test_kubernel_consult_comes_before_its_plugins_answer_and_only_when_nobody_decided_before() -> None:
    told: list[str] = []

    async def consult(self: object, attributes: Attributes) -> None:
        told.append("asked")

    def authorize(self: object, attributes: Attributes) -> Decision | None:
        return Decision(True) if told else None

    hooks = registered(plugin(kubernel_consult=consult, kubernel_authorize=authorize))
    assert not hooks.authorize(ATTRIBUTES).allowed
    assert asyncio.run(hooks.decide(ATTRIBUTES)).allowed
    assert told == ["asked"]
    first = registered(ask(Decision(True)), plugin(kubernel_consult=consult, kubernel_authorize=authorize))
    assert asyncio.run(first.decide(ATTRIBUTES)).allowed
    assert told == ["asked"]


def test_kubernel_audit_reaches_all_and_a_failure_is_only_its_own() -> None:
    kept: list[object] = []

    async def waits(self: object, event: object) -> None:
        kept.append(event)

    def fails(self: object, event: object) -> None:
        raise ValueError("full")

    failures: list[str] = []
    hooks = registered(
        plugin(kubernel_audit=fails),
        plugin(kubernel_audit=waits),
        failed=lambda label, error: failures.append(label),
    )
    assert hooks.audits
    assert not registered().audits
    asyncio.run(hooks.audit({"kind": "Event"}))
    assert kept == [{"kind": "Event"}]
    assert failures
