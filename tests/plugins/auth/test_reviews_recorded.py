"""Reviews answer as kube-apiserver 1.37 with the authorizers Node and RBAC was recorded to answer."""

from __future__ import annotations

import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubernel.client.kubeconfig import load_kubeconfig
from kubernel.testing import Cluster

RECORDED = json.loads((Path(__file__).parent / "recorded" / "reviews.json").read_text("utf-8"))
TOKENS = {"admin": "oracletoken", "janetoken": "janetoken"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: Any) -> Iterator[Any]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens.csv"
    tokens.write_text('oracletoken,admin,1,"system:masters"\njanetoken,jane,2,"devs"\n')
    audiences = ["https://kubernetes.default.svc", "api"]
    auth = [
        "x509",
        {"token": {"file": str(tokens)}},
        {"serviceaccount": {"audiences": audiences}},
        "node",
        "rbac",
    ]
    plugins = {"auth": auth, "node": None, "scheduler": None, "controller": ["bootstrap"]}
    with Cluster(config={"plugins": plugins}, https=True, real_time=True) as cluster:
        access = load_kubeconfig(cluster.kubeconfig)
        context = ssl.create_default_context(cadata=(access.ca or b"").decode())

        def ask(path: str, body: Any, token: str) -> tuple[int, Any]:
            request = urllib.request.Request(
                access.url + path,
                json.dumps(body).encode(),
                {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, context=context) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as refused:
                return refused.code, json.load(refused)

        yield ask


def comparable(answer: Any) -> Any:
    """Without what differs by the moment."""
    # Who manages the fields of what is refused is told by upstream's text as well.
    text = re.sub(r',?\\"managedFields\\":\[.*?\}\}\}?\}?\}?\}?\}\]', "", json.dumps(answer))
    # Two bindings allow it: which one is named is by chance.
    told = json.loads(text.replace("system:public-info-viewer", "system:discovery"))
    meta = told.get("metadata") or {}
    meta.pop("managedFields", None)
    if "creationTimestamp" in meta:
        meta["creationTimestamp"] = "now"
    for rules in ("resourceRules", "nonResourceRules"):
        if rules in (told.get("status") or {}):
            told["status"][rules].sort(key=str)
    return told


@pytest.mark.parametrize("case", [pytest.param(one, id=one["name"]) for one in RECORDED])
def test_a_review_is_answered_as_by_kube_apiserver(server: Any, case: Any) -> None:
    status, answer = server(case["path"], case["body"], TOKENS[case["token"]])
    assert (status, comparable(answer)) == (case["status"], comparable(case["answer"]))


def test_a_review_with_metadata_of_nothing_is_answered(server: Any) -> None:
    asked = {"verb": "get", "resource": "pods", "namespace": "default"}
    review = {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "metadata": {"creationTimestamp": None}, "spec": {"resourceAttributes": asked},
    }  # fmt: skip
    status, answer = server("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, "oracletoken")
    assert (status, answer["status"]) == (201, {"allowed": True})
