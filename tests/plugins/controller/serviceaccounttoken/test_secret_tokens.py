"""Tokens in Secrets: asked for, shown, void, and cleared away."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from workload_kit import pod

from kubernel.errors import Unauthorized
from kubernel.objects import meta
from kubernel.registry.attributes import Credentials
from kubernel.registry.request import UserInfo
from kubernel.testing import Cluster

TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
USED, INVALID = "kubernetes.io/legacy-token-last-used", "kubernetes.io/legacy-token-invalid-since"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster({"plugins": {"auth": ["x509", "serviceaccount", "rbac"]}}) as made:
        made.settle()
        yield made


def account(name: str = "robot") -> Any:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


def secret(name: str = "robot-token", of: str = "robot", **annotations: str) -> Any:
    metadata = {"name": name, "annotations": {NAME: of, **annotations}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": metadata,
    }


def data(cluster: Cluster, name: str = "robot-token") -> dict[str, str]:
    found = cluster.get("secrets", name).get("data") or {}
    return {key: base64.b64decode(value).decode() for key, value in found.items()}


def who(cluster: Cluster, token: str) -> UserInfo | None:
    answer: UserInfo | None = cluster.run(cluster.kernel.hooks.authenticate(Credentials(token=token)))
    cluster.settle()
    return answer


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_a_secret_that_asks_for_a_token_gets_one_with_the_ca_and_the_namespace(cluster: Cluster) -> None:
    cluster.apply([account(), secret()])
    found = data(cluster)
    assert sorted(found) == ["ca.crt", "namespace", "token"]
    assert found["ca.crt"] == cluster.get("configmaps", "kube-root-ca.crt")["data"]["ca.crt"]
    assert found["namespace"] == "default"
    uid = meta.uid(cluster.get("serviceaccounts", "robot"))
    assert meta.annotations(cluster.get("secrets", "robot-token"))[UID] == uid
    prefix = "kubernetes.io/serviceaccount/"
    assert claims(found["token"]) == {
        "iss": "kubernetes/serviceaccount",
        f"{prefix}namespace": "default",
        f"{prefix}secret.name": "robot-token",
        f"{prefix}service-account.name": "robot",
        f"{prefix}service-account.uid": uid,
        "sub": "system:serviceaccount:default:robot",
    }
    # Nothing is made for accounts that nobody asks a token for.
    assert "secrets" not in cluster.get("serviceaccounts", "robot")


def test_its_bearer_is_the_account_and_the_day_is_noted(cluster: Cluster) -> None:
    cluster.apply([account(), secret()])
    uid = meta.uid(cluster.get("serviceaccounts", "robot"))
    assert who(cluster, data(cluster)["token"]) == UserInfo(
        "system:serviceaccount:default:robot",
        ("system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"),
        uid,
    )
    first = meta.labels(cluster.get("secrets", "robot-token"))[USED]
    version = cluster.get("secrets", "robot-token")["metadata"]["resourceVersion"]
    who(cluster, data(cluster)["token"])
    assert cluster.get("secrets", "robot-token")["metadata"]["resourceVersion"] == version
    cluster.clock.advance("24h")
    who(cluster, data(cluster)["token"])
    assert meta.labels(cluster.get("secrets", "robot-token"))[USED] > first


def test_whose_account_lists_it_is_told_to_use_another_kind(cluster: Cluster) -> None:
    cluster.apply([account(), secret()])
    bearer = who(cluster, data(cluster)["token"])
    assert bearer is not None
    assert bearer.warnings == ()
    cluster.patch("serviceaccounts", "robot", {"secrets": [{"name": "robot-token"}]})
    bearer = who(cluster, data(cluster)["token"])
    assert bearer is not None
    (told,) = bearer.warnings
    assert told.startswith("Use tokens from the TokenRequest API or manually created secret-based tokens")


@pytest.mark.parametrize("why", ["deleted", "changed", "invalid", "account", "other-account"])
def test_a_token_is_void_when(cluster: Cluster, why: str) -> None:
    cluster.apply([account(), secret()])
    token = data(cluster)["token"]
    if why == "deleted":
        cluster.delete("secrets", "robot-token")
    elif why == "changed":
        other = base64.b64encode(b"other").decode()
        cluster.patch("secrets", "robot-token", {"data": {"token": other}})
    elif why == "invalid":
        cluster.patch("secrets", "robot-token", {"metadata": {"labels": {INVALID: "2030-01-01"}}})
    else:
        cluster.delete("serviceaccounts", "robot")
        if why == "other-account":
            cluster.apply(account())
    with pytest.raises(Unauthorized):
        who(cluster, token)


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(secret(of="nobody"), id="no-such-account"),
        pytest.param(secret(**{UID: "another"}), id="another-uid"),
    ],
)
def test_a_secret_of_an_account_that_is_not_there_is_removed(cluster: Cluster, made: Any) -> None:
    cluster.apply(account())
    cluster.create(made)
    cluster.settle()
    assert cluster.find("secrets", "robot-token") is None


def test_tokens_go_with_their_account(cluster: Cluster) -> None:
    cluster.apply([account(), secret(), secret("second"), account("other"), secret("kept", "other")])
    cluster.delete("serviceaccounts", "robot")
    cluster.settle()
    assert [meta.name(one) for one in cluster.list("secrets", "default")] == ["kept"]


def test_an_account_forgets_a_secret_that_was_deleted(cluster: Cluster) -> None:
    cluster.apply([account(), secret()])
    cluster.patch("serviceaccounts", "robot", {"secrets": [{"name": "robot-token"}, {"name": "mine"}]})
    cluster.delete("secrets", "robot-token")
    cluster.settle()
    assert cluster.get("serviceaccounts", "robot")["secrets"] == [{"name": "mine"}]


def test_what_was_taken_out_of_the_secret_is_put_in_again(cluster: Cluster) -> None:
    cluster.apply([account(), secret()])
    cluster.patch("secrets", "robot-token", {"data": {"token": None, "ca.crt": "bm9uZQ=="}})
    assert sorted(data(cluster)) == ["ca.crt", "namespace", "token"]
    assert data(cluster)["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")
    assert who(cluster, data(cluster)["token"]) is not None


def test_a_review_says_whose_it_is(cluster: Cluster) -> None:
    cluster.apply([account(), secret()])
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "metadata": {},
        "spec": {"token": data(cluster)["token"]},
    }
    status = cluster.create(review)["status"]
    assert status["authenticated"] is True
    assert status["user"]["username"] == "system:serviceaccount:default:robot"
    assert status["audiences"] == ["https://kubernetes.default.svc.cluster.local"]


# --- clearing away


def test_since_when_uses_are_noted_is_said(cluster: Cluster) -> None:
    found = cluster.get("configmaps", TRACKING, "kube-system")
    assert (
        found["data"]["since"] == cluster.get("namespaces", "default")["metadata"]["creationTimestamp"][:10]
    )


OLD = "2020-01-01T00:00:00Z"


def stored(obj: Any, **metadata: Any) -> Any:
    more = {"namespace": "default", "uid": f"u-{meta.name(obj)}", "creationTimestamp": OLD, **metadata}
    return {**obj, "metadata": {**obj["metadata"], **more}}


def old(*, listed: bool = True, since: str = "2020-01-01", pods: Any = (), **labels: Any) -> list[Any]:
    """What an old cluster left: an account, its token with these labels, since when uses are noted."""
    tracking = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": TRACKING},
        "data": {"since": since},
    }
    metadata = {key: value for key, value in labels.items() if key != "labels"}
    return [
        stored({**account(), **({"secrets": [{"name": "robot-token"}]} if listed else {})}),
        stored(secret(**{UID: "u-robot"}), labels=labels.get("labels", {}), **metadata),
        stored(tracking, namespace="kube-system"),
        *pods,
    ]


def looked_at(contents: list[Any]) -> Any:
    """The token after a day of the cleaner; None when it is gone."""
    # 2030-01-01
    with Cluster(contents=contents, start=1893456000.0) as cluster:
        cluster.clock.advance(5)
        return cluster.find("secrets", "robot-token")


def using(volume: Any) -> Any:
    return stored(pod("user", volumes=[{"name": "v", **volume}]))


MARKED = {INVALID: "2030-01-01"}


@pytest.mark.parametrize(
    ("contents", "labels"),
    [
        pytest.param(old(), MARKED, id="never-used"),
        pytest.param(old(labels={USED: "2028-12-31"}), {USED: "2028-12-31", **MARKED}, id="not-for-a-year"),
        pytest.param(old(labels={USED: "2029-01-01"}), {USED: "2029-01-01"}, id="within-the-year"),
        pytest.param(old(labels={USED: "yesterday"}), {USED: "yesterday"}, id="nobody-knows-when"),
        pytest.param(old(creationTimestamp="2029-06-01T00:00:00Z"), {}, id="made-within-the-year"),
        pytest.param(old(listed=False), {}, id="made-by-hand"),
        pytest.param(old(since="2029-06-01"), {}, id="uses-not-noted-for-a-year"),
        pytest.param(old(labels={INVALID: "nonsense"}), MARKED, id="marked-wrongly"),
        pytest.param(
            old(labels={INVALID: "2029-01-02"}), {INVALID: "2029-01-02"}, id="marked-within-the-year"
        ),
        pytest.param(old(labels={INVALID: "2028-12-01"}), None, id="marked-for-a-year"),
        pytest.param(old(pods=[using({"secret": {"secretName": "robot-token"}})]), {}, id="mounted"),
        pytest.param(
            old(pods=[using({"projected": {"sources": [{"secret": {"name": "robot-token"}}]}})]),
            {},
            id="projected",
        ),
    ],
)
def test_an_old_token_is_marked_and_then_deleted(contents: list[Any], labels: Any) -> None:
    found = looked_at(contents)
    assert (None if found is None else meta.labels(found)) == labels
