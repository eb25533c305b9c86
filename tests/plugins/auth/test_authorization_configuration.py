"""An AuthorizationConfiguration is taken as kube-apiserver takes it: what it refuses, and who is then asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from webhook_kit import WebhookServer

from kubernel.errors import PluginError
from kubernel.registry.attributes import Attributes
from kubernel.registry.request import UserInfo, WriteOptions
from kubernel.testing import Cluster
from kubernel_plugins.auth.authorization_webhook.configuration import read

RECORDED = json.loads(
    (Path(__file__).parent / "recorded" / "authorization_configuration.json").read_text("utf-8")
)
DIFFERENT = {
    # What reads YAML and CEL words its syntax errors otherwise or tells fewer: the beginning is the same.
    "bad-yaml", "mc-syntax",
}  # fmt: skip
JANE = UserInfo("jane", ("devs",))
ROOT = UserInfo("root", ("system:masters",))
WEBHOOK = {
    "timeout": "3s",
    "subjectAccessReviewVersion": "v1",
    "matchConditionSubjectAccessReviewVersion": "v1",
    "failurePolicy": "NoOpinion",
}


@pytest.mark.parametrize("case", [pytest.param(one, id=one["name"]) for one in RECORDED])
def test_a_file_is_taken_or_refused_in_the_words_of_kube_apiserver(case: Any, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch()
    told = case["file"]
    text = told if isinstance(told, str) else yaml.safe_dump(told)
    path = tmp_path / "authorization.yaml"
    path.write_text(text.replace("KUBECONFIG", str(kubeconfig)))
    refused = case["refused"].replace("KUBECONFIG", str(kubeconfig))
    if not refused:
        read(str(path))
        return
    if case["name"] == "abac":
        assert [one.type for one in read(str(path))] == ["ABAC"]
        return
    with pytest.raises(PluginError) as wrong:
        read(str(path))
    if case["name"] in DIFFERENT:
        assert str(wrong.value).startswith(re.split("[;\n]", refused)[0])
    else:
        assert str(wrong.value) == refused


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebhookServer]:
    made = WebhookServer(tmp_path / "server")
    yield made
    made.stop()


class Chain:
    """A file, and a cluster that follows it."""

    def __init__(self, server: WebhookServer, directory: Path) -> None:
        self.path = directory / "authorization.yaml"
        self._kubeconfig = server.kubeconfig(directory, "/may")

    def webhook(self, name: str = "company", **settings: Any) -> dict[str, Any]:
        connection = {"type": "KubeConfigFile", "kubeConfigFile": str(self._kubeconfig)}
        return {
            "type": "Webhook",
            "name": name,
            "webhook": {**WEBHOOK, "connectionInfo": connection, **settings},
        }

    def write(self, *authorizers: Any) -> None:
        named = [{"type": one, "name": one.lower()} if isinstance(one, str) else one for one in authorizers]
        document = {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthorizationConfiguration",
            "authorizers": named,
        }
        self.path.write_text(yaml.safe_dump(document))

    def cluster(self, *authorizers: Any, real_time: bool = True) -> Cluster:
        self.write(*authorizers)
        auth = ["x509", "node", "rbac", {"authorization_webhook": {"configuration": str(self.path)}}]
        plugins = {"auth": auth, "node": None, "scheduler": None, "controller": ["bootstrap"]}
        return Cluster(config={"plugins": plugins}, real_time=real_time)


@pytest.fixture
def chain(server: WebhookServer, tmp_path: Path) -> Chain:
    return Chain(server, tmp_path)


def may(cluster: Cluster, verb: str, user: UserInfo = JANE, **asked: str) -> tuple[bool, str]:
    wanted = Attributes(user, verb, "", "v1", "pods", "", "default", "a", **asked)
    decision = cluster.run(cluster.kernel.hooks.decide(wanted))
    return decision.allowed, decision.reason


def answering(server: WebhookServer, **verbs: dict[str, Any]) -> None:
    def review(asked: dict[str, Any]) -> tuple[int, bytes]:
        verb = asked["spec"]["resourceAttributes"]["verb"]
        return 200, json.dumps({**asked, "status": verbs.get(verb, {"allowed": False})}).encode()

    server.raw["/may"] = review


def metrics(cluster: Cluster) -> str:
    return "".join(cluster.kernel.hooks.metrics())


def test_a_webhook_allows_denies_or_leaves_it_to_the_next(server: WebhookServer, chain: Chain) -> None:
    answering(
        server,
        get={"allowed": True},
        delete={"allowed": False, "denied": True, "reason": "never"},
        list={"allowed": False, "reason": "no idea"},
    )
    with chain.cluster("Node", chain.webhook(), "RBAC") as cluster:
        assert may(cluster, "get") == (True, "")
        assert may(cluster, "delete") == (False, "never")
        assert may(cluster, "list") == (False, "no idea")
        # The administrators are asked about nowhere.
        assert may(cluster, "delete", ROOT) == (True, "")
        before = len(server.asked)
        may(cluster, "get")
        assert len(server.asked) == before
        assert server.asked[0][1]["spec"] == {
            "user": "jane", "groups": ["devs"],
            "resourceAttributes": {
                "namespace": "default", "verb": "get", "version": "v1", "resource": "pods", "name": "a",
            },
        }  # fmt: skip
        told = metrics(cluster)
        assert (
            'apiserver_authorization_decisions_total{decision="denied",name="company",type="Webhook"} 1'
            in told
        )
        assert 'apiserver_authorization_webhook_evaluations_total{name="company",result="success"} 3' in told


def test_who_is_not_in_the_file_is_not_asked(server: WebhookServer, chain: Chain) -> None:
    with chain.cluster(chain.webhook()) as cluster:
        answering(server)
        admin = UserInfo("system:kube-scheduler")
        assert not may(cluster, "list", admin)[0]
        chain.path.unlink()
    with chain.cluster("RBAC") as cluster:
        assert may(cluster, "list", admin)[0]
    with chain.cluster("AlwaysAllow") as cluster:
        assert may(cluster, "list", JANE)[0]
    with chain.cluster("AlwaysDeny") as cluster:
        assert may(cluster, "list", admin) == (False, "Everything is forbidden.")
        assert may(cluster, "list", ROOT)[0]


@pytest.mark.parametrize(
    ("user", "told"),
    [
        (JANE, ["webhook authorizer does not support user rule resolution"]),
        (
            UserInfo("system:node:n", ("system:nodes",)),
            [
                "node authorizer does not support user rule resolution",
                "webhook authorizer does not support user rule resolution",
            ],
        ),
    ],
)
def test_a_review_of_ones_rules_says_that_they_are_not_all(
    chain: Chain, user: UserInfo, told: list[str]
) -> None:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": "default"},
    }
    with chain.cluster("Node", "RBAC", chain.webhook(), real_time=False) as cluster:
        type = cluster.kernel.registry.lookup("authorization.k8s.io", "v1", "selfsubjectrulesreviews")
        assert type is not None
        made = cluster.run(cluster.kernel.registry.create(user, type, "", review, WriteOptions()))
        assert made.obj is not None
        status = made.obj["status"]
        assert status["incomplete"] is True
        assert status["evaluationError"] == (told[0] if len(told) == 1 else f"[{', '.join(told)}]")


def test_a_webhook_is_told_the_selectors_of_a_list(server: WebhookServer, chain: Chain) -> None:
    answering(server)
    with chain.cluster(chain.webhook()) as cluster:
        may(
            cluster,
            "list",
            label_selector="a=b,c in (d,e),f,!g,h>1",
            field_selector="spec.nodeName=n1,metadata.name!=x",
        )
        told = server.asked[0][1]["spec"]["resourceAttributes"]
        assert told["labelSelector"] == {
            "requirements": [
                {"key": "a", "operator": "In", "values": ["b"]},
                {"key": "c", "operator": "In", "values": ["d", "e"]},
                {"key": "f", "operator": "Exists"},
                {"key": "g", "operator": "DoesNotExist"},
            ]
        }
        assert told["fieldSelector"] == {
            "requirements": [
                {"key": "metadata.name", "operator": "NotIn", "values": ["x"]},
                {"key": "spec.nodeName", "operator": "In", "values": ["n1"]},
            ]
        }


def test_a_webhook_of_the_older_version_is_asked_in_it(server: WebhookServer, chain: Chain) -> None:
    answering(server, get={"allowed": True})
    with chain.cluster(chain.webhook(subjectAccessReviewVersion="v1beta1")) as cluster:
        assert may(cluster, "get")[0]
        review = server.asked[0][1]
        assert review["apiVersion"] == "authorization.k8s.io/v1beta1"
        assert review["spec"]["group"] == ["devs"]
        assert "groups" not in review["spec"]


@pytest.mark.parametrize(("policy", "allowed"), [("NoOpinion", True), ("Deny", False)])
def test_no_answer_is_what_the_failure_policy_says(
    server: WebhookServer, chain: Chain, policy: str, allowed: bool
) -> None:
    server.raw["/may"] = lambda asked: (500, b"broken")
    with chain.cluster(chain.webhook(failurePolicy=policy), "AlwaysAllow") as cluster:
        assert may(cluster, "get")[0] is allowed
        opened = 'webhook_evaluations_fail_open_total{name="company",result="error"} 1' in metrics(cluster)
        assert opened is allowed


@pytest.mark.parametrize(
    ("conditions", "asked", "allowed"),
    [
        pytest.param(["request.resourceAttributes.verb == 'get'"], True, True, id="holds"),
        pytest.param(["request.resourceAttributes.verb == 'list'"], False, False, id="does-not-hold"),
        pytest.param(["request.uid == '' && request.extra.size() == 0"], True, True, id="what-is-not-set"),
        pytest.param(
            ["request.extra['a'][0] == 'b'", "request.user == 'x'"], False, False, id="error-and-false"
        ),
        pytest.param(
            ["request.resourceAttributes.fieldSelector.requirements.exists(r, r.values[0] == 'n1')"],
            True,
            True,
            id="selector",
        ),
    ],
)
def test_conditions_say_which_requests_are_asked_about(
    server: WebhookServer, chain: Chain, conditions: list[str], asked: bool, allowed: bool
) -> None:
    answering(server, get={"allowed": True})
    told = [{"expression": one} for one in conditions]
    with chain.cluster(chain.webhook(matchConditions=told, failurePolicy="Deny")) as cluster:
        assert may(cluster, "get", field_selector="spec.nodeName=n1")[0] is allowed
        assert bool(server.asked) is asked


@pytest.mark.parametrize(("policy", "allowed"), [("NoOpinion", True), ("Deny", False)])
def test_a_condition_that_cannot_be_told_is_what_the_failure_policy_says(
    server: WebhookServer, chain: Chain, policy: str, allowed: bool
) -> None:
    told = [{"expression": "request.extra['a'][0] == 'b'"}]
    with chain.cluster(chain.webhook(matchConditions=told, failurePolicy=policy), "AlwaysAllow") as cluster:
        assert may(cluster, "get")[0] is allowed
        assert not server.asked
        assert 'match_condition_evaluation_errors_total{name="company",type="Webhook"} 1' in metrics(cluster)


def test_answers_are_not_kept_where_the_file_says_so(server: WebhookServer, chain: Chain) -> None:
    answering(server, get={"allowed": True})
    with chain.cluster(chain.webhook(cacheAuthorizedRequests=False)) as cluster:
        assert may(cluster, "get")[0]
        assert may(cluster, "get")[0]
        assert len(server.asked) == 2
        assert not may(cluster, "list")[0]
        assert not may(cluster, "list")[0]
        assert len(server.asked) == 3


def test_a_changed_file_is_used_and_a_wrong_one_is_not(chain: Chain) -> None:
    with chain.cluster("RBAC", "AlwaysDeny", real_time=False) as cluster:
        assert not may(cluster, "get")[0]
        chain.write("RBAC", "AlwaysAllow", "AlwaysDeny")
        cluster.clock.advance(61)
        assert may(cluster, "get")[0]
        chain.write("RBAC")
        cluster.clock.advance(61)
        assert may(cluster, "get")[0]
        told = metrics(cluster)
        assert "automatic_reload_last_timestamp_seconds" in told
        assert 'status="failure"} 1\n' in told
        assert 'status="success"} 2\n' in told


def test_a_type_whose_plugin_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "apiserver.config.k8s.io/v1",
                "kind": "AuthorizationConfiguration",
                "authorizers": [{"type": "Node", "name": "node"}],
            }
        )
    )
    auth = ["rbac", {"authorization_webhook": {"configuration": str(path)}}]
    config = {"plugins": {"auth": auth, "node": None, "scheduler": None, "controller": ["bootstrap"]}}
    with pytest.raises(
        PluginError, match="authorizer type Node is not allowed if it was not enabled at initial"
    ):
        Cluster(config=config).__enter__()
