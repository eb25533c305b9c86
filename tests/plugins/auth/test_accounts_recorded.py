"""TokenRequests, the subresources of CertificateSigningRequests and what is admitted of pods' accounts: answered as
kube-apiserver 1.37 was recorded to answer the same requests, one after the other."""

from __future__ import annotations

import json
import re
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from kubernel.client.kubeconfig import load_kubeconfig
from kubernel.testing import Cluster

RECORDED = json.loads((Path(__file__).parent / "recorded" / "accounts.json").read_text("utf-8"))
MOMENT = re.compile(
    r'"(uid|resourceVersion|token|deletionTimestamp|creationTimestamp|time|expirationTimestamp|lastUpdateTime|'
    r'lastTransitionTime)": "[^"]*"'
)
UID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?")
MOUNT = re.compile("kube-api-access-[a-z0-9]{5}")


def comparable(answer: Any) -> Any:
    """Without what differs by the moment."""
    text = MOMENT.sub(r'"\1": "#"', json.dumps(answer, sort_keys=True))
    return json.loads(MOUNT.sub("kube-api-access-#", TIME.sub("TIME", UID.sub("UID", text))))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: Any) -> list[tuple[int, Any]]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens.csv"
    tokens.write_text('oracletoken,admin,1,"system:masters"\n')
    issuer = {"issuer": "https://kubernetes.default.svc"}
    auth = ["x509", {"token": {"file": str(tokens)}}, {"serviceaccount": issuer}, "node", "rbac"]
    plugins = {"auth": auth, "node": None, "scheduler": None, "controller": ["bootstrap"]}
    with Cluster(config={"plugins": plugins}, https=True, real_time=True) as cluster:
        access = load_kubeconfig(cluster.kubeconfig)
        context = ssl.create_default_context(cadata=(access.ca or b"").decode())

        def ask(method: str, path: str, body: Any) -> tuple[int, Any]:
            media = "application/merge-patch+json" if method == "PATCH" else "application/json"
            request = urllib.request.Request(
                access.url + path,
                None if body is None else json.dumps(body).encode(),
                {"Authorization": "Bearer oracletoken", "Content-Type": media, "User-Agent": ""},
                method=method,
            )
            try:
                with urllib.request.urlopen(request, context=context) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as refused:
                return refused.code, json.load(refused)

        found = []
        for one in RECORDED:
            body = one["body"]
            if (body or {}).get("metadata") == {"resourceVersion": "current"}:
                _, current = ask("GET", re.sub("/(approval|status)$", "", one["path"]), None)
                body = {**body, "metadata": current["metadata"]}
            found.append(ask(one["method"], one["path"], body))
        return found


@pytest.mark.parametrize("number", range(len(RECORDED)))
def test_an_account_is_answered_as_by_kube_apiserver(answers: Any, number: int) -> None:
    status, answer = answers[number]
    recorded = RECORDED[number]
    assert (status, comparable(answer)) == (recorded["status"], comparable(recorded["answer"]))
