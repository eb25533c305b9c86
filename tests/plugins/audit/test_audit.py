"""What is told of requests, to whom, and what happens when nobody keeps up."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from webhook_kit import WebhookServer

sys.path.insert(0, str(Path(__file__).parents[1] / "api" / "http"))
from http_harness import PODS, Raw, World, check, pod

from kubernel.clock import VirtualClock
from kubernel.errors import ConfigError, PluginError
from kubernel.plugin import hookimpl
from kubernel.plugin.logs import Logs
from kubernel.registry.attributes import Attributes
from kubernel.registry.request import AUDIT_NOTES, Request, UserInfo
from kubernel_plugins.api import http
from kubernel_plugins.api.http.audit_policy import DEFAULT, LEVELS, Policy, read
from kubernel_plugins.audit import log, webhook
from kubernel_plugins.audit.queue import Queue

JANE = UserInfo("jane", ("devs", "system:authenticated"))


def level(rules: list[dict[str, Any]], asked: Attributes) -> str:
    return LEVELS[Policy({"rules": rules}, "test").verdict(asked).level]


def ask(verb: str = "get", resource: str = "pods", **more: Any) -> Attributes:
    plural, _, sub = resource.partition("/")
    return Attributes(**{"user": JANE, "verb": verb, "resource": plural, "subresource": sub, **more})


LOGS = ask(resource="pods/log")


@pytest.mark.parametrize(
    ("rule", "asked", "matches"),
    [
        pytest.param({"users": ["jane"]}, ask(), True, id="user"),
        pytest.param({"users": ["joe"]}, ask(), False, id="other-user"),
        pytest.param({"userGroups": ["devs"]}, ask(), True, id="group"),
        pytest.param({"verbs": ["list"]}, ask(), False, id="verb"),
        pytest.param({"resources": [{"group": "", "resources": ["pods"]}]}, ask(), True, id="resource"),
        pytest.param({"resources": [{"group": "", "resources": ["pods"]}]}, LOGS, False, id="not-its-sub"),
        pytest.param({"resources": [{"group": "", "resources": ["pods/*"]}]}, LOGS, True, id="any-sub"),
        pytest.param({"resources": [{"group": "", "resources": ["*/log"]}]}, LOGS, True, id="sub-of-any"),
        pytest.param({"users": ["jane"], "userGroups": ["ops"]}, ask(), False, id="user-and-group"),
        pytest.param({"resources": [{"group": "apps"}]}, ask(group="apps"), True, id="all-of-a-group"),
        pytest.param({"resources": [{"group": "", "resourceNames": ["a"]}]}, ask(name="b"), False, id="other-name"),
        pytest.param({"namespaces": ["x"]}, ask(namespace="x"), True, id="namespace"),
        pytest.param({"namespaces": [""]}, ask(namespace="x"), False, id="cluster-scoped-only"),
        pytest.param({"nonResourceURLs": ["/api*"]}, ask(resource="", path="/apis"), True, id="url"),
        pytest.param({"nonResourceURLs": ["/api*"]}, ask(), False, id="url-is-no-resource"),
        pytest.param({"resources": [{"group": ""}]}, ask(resource="", path="/x"), False, id="resource-is-no-url"),
        pytest.param({}, ask(resource="", path="/x"), True, id="everything"),
    ],
)  # fmt: skip
def test_a_rule_matches_what_it_names(rule: dict[str, Any], asked: Attributes, matches: bool) -> None:
    assert level([{"level": "Metadata", **rule}], asked) == ("Metadata" if matches else "None")


def test_the_first_rule_that_matches_decides() -> None:
    rules = [{"level": "None", "verbs": ["get"]}, {"level": "Request"}]
    assert level(rules, ask("get")) == "None"
    assert level(rules, ask("create")) == "Request"


def test_a_policy_whose_aliases_grow_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    path.write_text("a0: &a0 [x]\n" + levels)
    with pytest.raises(ConfigError, match="use fewer aliases"):
        read(str(path))


@pytest.mark.parametrize(
    ("document", "told"),
    [
        pytest.param({"rules": []}, "at least one is required", id="no-rules"),
        pytest.param({"rules": [{"level": "All"}]}, 'Unsupported value: "All"', id="level"),
        pytest.param({"rules": [{"level": "None", "omitStages": ["Later"]}]}, 'value: "Later"', id="stage"),
        pytest.param(
            {"rules": [{"level": "None", "namespaces": ["x"], "nonResourceURLs": ["/"]}]},
            "both regular resources and non-resource URLs", id="both",
        ),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_used_is_refused(document: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", **document}))
    with pytest.raises(PluginError, match=told):
        read(str(path))


def test_without_a_policy_it_is_told_who_read_secrets_who_went_into_pods_and_who_changed_what() -> None:
    rules = list(DEFAULT["rules"])
    for entry in (
        "pods/exec",
        "pods/attach",
        "pods/portforward",
        "pods/proxy",
        "services/proxy",
        "nodes/proxy",
    ):
        assert level(rules, ask("get", entry)) == "Metadata"
    assert level(rules, ask("get", "pods/log")) == "None"
    assert level(rules, ask("get", "secrets")) == "Metadata"
    assert level(rules, ask("get", "pods")) == "None"
    assert level(rules, ask("create", "pods")) == "Metadata"
    assert level(rules, ask("create", "events")) == "None"
    assert level(rules, ask("get", "", path="/healthz")) == "None"


class Sink:
    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []

    @hookimpl
    def kubernel_audit(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        request.notes.setdefault(AUDIT_NOTES, {})["policy.example/why"] = "because"

    def stages(self, **wanted: str) -> list[tuple[str, Mapping[str, Any]]]:
        return [
            (event["stage"], event)
            for event in self.events
            if all(event.get(key) == value for key, value in wanted.items())
        ]


def policy(directory: Path, *rules: dict[str, Any], **more: Any) -> http.Settings:
    path = directory / "policy.yaml"
    path.write_text(
        json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more})
    )
    return http.Settings(shutdown_grace=0.5, audit_policy=str(path))


def test_a_write_is_told_with_who_what_and_the_answer(tmp_path: Path) -> None:
    sink = Sink()

    async def body(world: World, raw: Raw) -> None:
        made = await raw.request("POST", PODS, pod("a"), {"User-Agent": "tester/1.0", "Impersonate-User": "bob",
                                                          "Impersonate-Group": "system:masters"})  # fmt: skip
        assert made.status == 201
        received, complete = (event for _, event in sink.stages(verb="create"))
        assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
        assert complete["level"] == "RequestResponse"
        assert complete["auditID"] == made.headers["audit-id"]
        assert complete["requestURI"] == PODS
        assert complete["user"]["username"] == "kubernetes-admin"
        assert complete["impersonatedUser"]["username"] == "bob"
        assert complete["sourceIPs"] == ["127.0.0.1"]
        assert complete["userAgent"] == "tester/1.0"
        assert complete["objectRef"] == {
            "resource": "pods", "namespace": "default", "name": "a", "apiVersion": "v1",
        }  # fmt: skip
        assert complete["responseStatus"] == {"metadata": {}, "code": 201}
        assert complete["annotations"] == {
            "authorization.k8s.io/decision": "allow",
            "authorization.k8s.io/reason": "",
            "policy.example/why": "because",
        }
        assert complete["requestObject"]["metadata"] == {"name": "a"}
        assert complete["responseObject"]["metadata"]["uid"]
        assert "managedFields" not in complete["responseObject"]["metadata"]

    settings = policy(tmp_path, {"level": "RequestResponse"}, omitManagedFields=True)
    check(body, tmp_path / "data", settings=settings, extra=[("audit/sink", sink)])


def test_bodies_are_told_from_their_level_on_and_stages_can_be_left_out(tmp_path: Path) -> None:
    sink = Sink()

    async def body(world: World, raw: Raw) -> None:
        await raw.request("POST", PODS, pod("a"))
        ((stage, event),) = sink.stages(verb="create")
        assert stage == "ResponseComplete"
        assert "requestObject" in event
        assert "responseObject" not in event
        await raw.request("GET", f"{PODS}/a")
        ((_, event),) = sink.stages(verb="get")
        assert "requestObject" not in event

    rules = ({"level": "Request", "verbs": ["create"]}, {"level": "Metadata"})
    settings = policy(tmp_path, *rules, omitStages=["RequestReceived"])
    check(body, tmp_path / "data", settings=settings, extra=[("audit/sink", sink)])


def test_what_the_refusal_of_an_invalid_secret_quotes_is_not_told(tmp_path: Path) -> None:
    sink = Sink()

    async def body(world: World, raw: Raw) -> None:
        for resource in ("secrets", "configmaps"):
            made = await raw.request(
                "POST", f"/api/v1/namespaces/default/{resource}", {"metadata": {"name": "Quoted"}}
            )
            assert (made.status, "Quoted" in made.json["message"]) == (422, True)
        secret, other = (event["responseStatus"] for stage, event in sink.stages(verb="create"))
        assert secret == {"metadata": {}, "code": 422, "status": "Failure", "reason": "Invalid"}
        assert "Quoted" in other["message"]

    settings = policy(tmp_path, {"level": "Metadata"}, omitStages=["RequestReceived"])
    check(body, tmp_path / "data", settings=settings, extra=[("audit/sink", sink)])


def test_refusals_and_unknown_clients_are_told(tmp_path: Path) -> None:
    sink = Sink()

    async def body(world: World, raw: Raw) -> None:
        bob = await Raw.open(world, world.context(user=("bob", ())))
        await bob.request("DELETE", f"{PODS}/a")
        ((_, event),) = sink.stages(verb="delete")
        assert event["responseStatus"]["code"] == 403
        assert event["responseStatus"]["reason"] == "Forbidden"
        assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"
        await bob.close()
        nobody = await Raw.open(world, world.context(admin=False))
        await nobody.request("GET", PODS, headers={"Authorization": "Bearer s3cret-but-wrong"})
        ((_, event),) = sink.stages(verb="list")
        assert event["responseStatus"]["code"] == 401
        assert "s3cret" not in json.dumps(sink.events)
        await nobody.close()

    settings = policy(tmp_path, {"level": "Metadata"}, omitStages=["RequestReceived"])
    check(body, tmp_path / "data", settings=settings, extra=[("audit/sink", sink)])


def test_a_watch_is_told_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    sink = Sink()

    async def body(world: World, raw: Raw) -> None:
        answer = await raw.request("GET", f"{PODS}?watch=1&timeoutSeconds=1")
        assert answer.status == 200
        stages = [stage for stage, _ in sink.stages(verb="watch")]
        assert stages == ["RequestReceived", "ResponseStarted", "ResponseComplete"]

    settings = policy(tmp_path, {"level": "Metadata"})
    check(body, tmp_path / "data", settings=settings, extra=[("audit/sink", sink)])


# --- sinks


def handle(directory: Path, clock: Any, tasks: list[Any]) -> Any:
    def spawn(work: Any, name: str) -> Any:
        tasks.append(asyncio.get_running_loop().create_task(work))
        return tasks[-1]

    return SimpleNamespace(
        data_dir=directory, clock=clock, spawn=spawn, log=Logs().bind(plugin="audit"), registry=None
    )


def test_events_are_lines_in_a_file_of_the_owner_and_it_is_rotated(tmp_path: Path) -> None:
    async def work() -> None:
        plugin = log.Plugin(log.Settings(max_size=1, max_backups=2), handle(tmp_path, VirtualClock(), []))
        await plugin.start()
        try:
            for _ in range(5):
                for number in range(110):
                    plugin.kubernel_audit({"number": number, "fill": "x" * 10_000})
                plugin._append(plugin._queue.take(1000))
        finally:
            await plugin.stop()

    asyncio.run(work())
    current = tmp_path / "logs" / "audit.log"
    assert stat.S_IMODE(current.stat().st_mode) == 0o600
    aside = list((tmp_path / "logs").glob("audit-*.log"))
    assert 1 <= len(aside) <= 2
    for line in aside[0].read_text().splitlines():
        assert json.loads(line)["fill"]


def test_a_full_queue_loses_events_or_lets_requests_wait_as_configured() -> None:
    async def work() -> None:
        losing = Queue(2, "drop")
        for number in range(5):
            assert losing.put(b"%d" % number) is None
        assert losing.dropped == 3
        assert losing.take(10) == [b"0", b"1"]
        waiting = Queue(1, "block")
        assert waiting.put(b"a") is None
        held = waiting.put(b"b")
        assert held is not None
        task = asyncio.ensure_future(held)
        await asyncio.sleep(0)
        assert not task.done()
        assert waiting.take(10) == [b"a"]
        await task
        assert waiting.take(10) == [b"b"]
        assert waiting.dropped == 0

    asyncio.run(work())


def test_batches_are_sent_to_a_webhook_and_sent_again(tmp_path: Path) -> None:
    server = WebhookServer(tmp_path / "server")
    failures = [503]
    seen: list[Any] = []

    def take(document: Any) -> tuple[int, bytes]:
        if failures:
            return failures.pop(), b"later"
        seen.append(document)
        return 200, b"{}"

    server.raw["/audit"] = take

    async def work() -> None:
        from kubernel.clock import RealClock

        tasks: list[Any] = []
        settings = webhook.Settings(server.kubeconfig(tmp_path, "/audit"), batch_wait=0.0, backoff=0.01)
        plugin = webhook.Plugin(settings, handle(tmp_path, RealClock(), tasks))
        await plugin.start()
        for number in range(3):
            plugin.kubernel_audit({"kind": "Event", "number": number})
        while not seen:
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await plugin.stop()

    try:
        asyncio.run(work())
    finally:
        server.stop()
    assert seen[0]["kind"] == "EventList"
    assert [item["number"] for item in seen[0]["items"]] == [0, 1, 2]
