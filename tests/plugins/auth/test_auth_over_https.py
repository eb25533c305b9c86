"""Who clients are and what they may do, over HTTPS with the real plugins."""

from __future__ import annotations

import stat
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "api" / "http"))
from http_harness import PODS, Raw, World, check, pod, run, serving

from kubernel.errors import PluginError
from kubernel.registry.attributes import Attributes
from kubernel.registry.request import UserInfo
from kubernel_plugins.api.http.identity import Gate
from kubernel_plugins.auth.certificates import subject
from kubernel_plugins.auth.rbac.policy import Policy
from kubernel_plugins.authority import Authority

RBAC = "/apis/rbac.authorization.k8s.io/v1"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
WHO_BODY = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


def role(name: str, *rules: dict[str, Any], kind: str = "ClusterRole") -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "rules": list(rules),
    }  # fmt: skip


def binding(
    name: str, role: str, user: str, kind: str = "ClusterRoleBinding", of: str = "ClusterRole"
) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": of, "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }  # fmt: skip


READ_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}


async def eventually(raw: Raw, path: str, status: int, headers: Any = None) -> Any:
    for _ in range(500):
        answer = await raw.request("GET", path, headers=headers)
        if answer.status == status:
            return answer
    raise AssertionError(f"{path}: {answer.status} {answer.body!r}")


def test_certificate_names_user_and_groups(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        other = await Raw.open(world, world.context(user=("alice", ("devs", "ops"))))
        told = (await other.request("POST", WHO, WHO_BODY)).json["status"]["userInfo"]
        assert told["username"] == "alice"
        assert sorted(told["groups"]) == ["devs", "ops", "system:authenticated"]
        await other.close()

    check(body, tmp_path)


def test_without_credentials_only_health_and_version(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        nobody = await Raw.open(world, world.context(admin=False))
        for path, status in (
            ("/readyz", 200),
            ("/version", 200),
            (PODS, 401),
            ("/metrics", 401),
            ("/api", 401),
        ):
            answer = await nobody.request("GET", path)
            assert answer.status == status, path
        assert answer.json["message"] == "Unauthorized"
        assert "www-authenticate" in answer.headers
        await nobody.close()

    check(body, tmp_path)


def test_fixed_tokens(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        nobody = await Raw.open(world, world.context(admin=False))
        good = await nobody.request("POST", WHO, WHO_BODY, {"Authorization": "Bearer s3cret"})
        assert good.json["status"]["userInfo"]["username"] == "carol"
        for shown in ("Bearer wrong", "Basic czNjcmV0", "Bearer"):
            assert (await nobody.request("GET", "/version", headers={"Authorization": shown})).status == 401
        await nobody.close()

    check(body, tmp_path, tokens={"s3cret": "carol"})


def test_roles_take_effect_and_end_in_upstreams_words(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        bob = await Raw.open(world, world.context(user=("bob", ())))
        refused = await bob.request("GET", PODS)
        assert refused.status == 403
        assert refused.json["message"] == (
            'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default"'
        )
        refused = await bob.request("GET", "/metrics")
        assert refused.json["message"] == 'forbidden: User "bob" cannot get path "/metrics"'
        await raw.request("POST", f"{RBAC}/clusterroles", role("reader", READ_PODS))
        where = f"{RBAC}/namespaces/default/rolebindings"
        await raw.request("POST", where, binding("bob", "reader", "bob", kind="RoleBinding"))
        await eventually(bob, PODS, 200)
        assert (await bob.request("GET", "/api/v1/pods")).status == 403
        assert (await bob.request("POST", PODS, pod("a"))).status == 403
        await raw.request("DELETE", f"{where}/bob")
        await eventually(bob, PODS, 403)
        await bob.close()

    check(body, tmp_path)


def test_default_roles_hold_at_once_and_are_stored(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        bob = await Raw.open(world, world.context(user=("bob", ())))
        assert (await bob.request("GET", "/apis")).status == 200
        await eventually(raw, f"{RBAC}/clusterrolebindings/system:discovery", 200)
        admin = await eventually(raw, f"{RBAC}/clusterroles/admin", 200)
        for _ in range(500):
            if len(admin.json["rules"]) > 10:
                break
            admin = await raw.request("GET", f"{RBAC}/clusterroles/admin")
        assert {
            "apiGroups": [""],
            "resources": ["pods/eviction"],
            "verbs": ["create"],
        } in (admin.json["rules"])
        await bob.close()

    check(body, tmp_path)


def test_nobody_grants_more_than_they_have(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        manage = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["*"]}
        write = {
            "apiGroups": ["rbac.authorization.k8s.io"],
            "resources": ["roles", "rolebindings"],
            "verbs": ["create"],
        }
        await raw.request("POST", f"{RBAC}/clusterroles", role("writer", write, READ_PODS))
        await raw.request("POST", f"{RBAC}/clusterrolebindings", binding("eve", "writer", "eve"))
        eve = await Raw.open(world, world.context(user=("eve", ())))
        await eventually(eve, PODS, 200)
        where = f"{RBAC}/namespaces/default/roles"
        fine = await eve.request("POST", where, role("fine", READ_PODS, kind="Role"))
        assert fine.status == 201
        secrets = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
        more = await eve.request("POST", where, role("more", secrets, kind="Role"))
        assert more.status == 403
        assert (
            'is attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["secrets"]'
            in (more.json["message"])
        )
        bound = await eve.request(
            "POST",
            f"{RBAC}/namespaces/default/rolebindings",
            binding("x", "cluster-admin", "eve", kind="RoleBinding"),
        )
        assert bound.status == 403
        assert manage["verbs"] == ["*"]
        await eve.close()

    check(body, tmp_path)


def test_impersonation_needs_the_right(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        seen = await raw.request(
            "POST", WHO, WHO_BODY, {"Impersonate-User": "bob", "Impersonate-Group": "devs"}
        )
        assert seen.json["status"]["userInfo"] == {
            "username": "bob",
            "groups": ["devs", "system:authenticated"],
        }
        assert (await raw.request("GET", PODS, headers={"Impersonate-User": "bob"})).status == 403
        assert (await raw.request("GET", PODS, headers={"Impersonate-Extra-Scopes": "x"})).status == 400
        bob = await Raw.open(world, world.context(user=("bob", ())))
        refused = await bob.request("GET", PODS, headers={"Impersonate-User": "admin"})
        assert refused.status == 403
        assert 'User "bob" cannot impersonate resource "users"' in refused.json["message"]
        await bob.close()

    check(body, tmp_path)


def test_access_reviews_agree_with_what_happens(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        group = "authorization.k8s.io"
        attributes = {"namespace": "default", "verb": "list", "resource": "pods"}
        own = {
            "apiVersion": f"{group}/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        assert (await raw.request("POST", f"/apis/{group}/v1/selfsubjectaccessreviews", own)).json["status"][
            "allowed"
        ]
        other = {
            **own,
            "kind": "SubjectAccessReview",
            "spec": {"resourceAttributes": attributes, "user": "bob"},
        }
        answer = await raw.request("POST", f"/apis/{group}/v1/subjectaccessreviews", other)
        assert (answer.status, answer.json["status"]["allowed"]) == (201, False)
        empty = {**own, "spec": {}}
        assert (await raw.request("POST", f"/apis/{group}/v1/selfsubjectaccessreviews", empty)).status == 422
        rules = {
            "apiVersion": f"{group}/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": "default"},
        }
        told = (await raw.request("POST", f"/apis/{group}/v1/selfsubjectrulesreviews", rules)).json["status"]
        assert {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]} in told["resourceRules"]
        table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        assert (
            await raw.request("POST", f"/apis/{group}/v1/selfsubjectaccessreviews", own, table)
        ).status == 406

    check(body, tmp_path)


def test_what_credentials_are_told_is_a_warning_of_every_answer(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Gate.user

    async def user(self: Gate, exchange: Any) -> UserInfo:
        return replace(await known(self, exchange), warnings=("an old token",))

    monkeypatch.setattr(Gate, "user", user)

    async def body(world: World, raw: Raw) -> None:
        for method, path, sent, status in (
            ("GET", PODS, None, 200),
            ("POST", PODS, pod("a"), 201),
            ("GET", f"{PODS}/a", None, 200),
            ("GET", f"{PODS}/gone", None, 404),
            ("GET", "/version", None, 200),
        ):
            # Each on a connection whose certificate says nothing yet.
            reply = await (await Raw.open(world)).request(method, path, sent)
            assert (reply.status, reply.headers["warning"]) == (status, '299 - "an old token"'), path

    check(body, tmp_path)


def test_service_account_tokens_live_and_die_with_their_objects(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        accounts = "/api/v1/namespaces/default/serviceaccounts"
        await raw.request(
            "POST", accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
        )
        obj = pod("a")
        obj["spec"]["serviceAccountName"] = "robot"
        await raw.request("POST", PODS, obj)
        ask = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
            "expirationSeconds": 600, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "a"}}}  # fmt: skip
        made = await raw.request("POST", f"{accounts}/robot/token", ask)
        assert made.status == 201, made.body
        token = made.json["status"]["token"]
        nobody = await Raw.open(world, world.context(admin=False))
        shown = {"Authorization": f"Bearer {token}"}
        told = (await nobody.request("POST", WHO, WHO_BODY, shown)).json["status"]["userInfo"]
        assert told["username"] == "system:serviceaccount:default:robot"
        assert told["extra"]["authentication.kubernetes.io/pod-name"] == ["a"]
        forged = {"Authorization": f"Bearer {token[:-4]}AAAA"}
        assert (await nobody.request("GET", "/version", headers=forged)).status == 401
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        where = "/apis/authentication.k8s.io/v1/tokenreviews"
        assert (await raw.request("POST", where, review)).json["status"]["authenticated"] is True
        short = {**ask, "spec": {"expirationSeconds": 10}}
        assert (await raw.request("POST", f"{accounts}/robot/token", short)).status == 422
        await raw.request("DELETE", f"{PODS}/a")
        assert (await nobody.request("GET", "/version", headers=shown)).status == 401
        assert (await raw.request("POST", where, review)).json["status"] == {
            "user": {}, "error": "[invalid bearer token, token lookup failed]",
        }  # fmt: skip
        keys = (await raw.request("GET", "/openid/v1/jwks")).json["keys"]
        assert keys[0]["crv"] == "P-256"
        issuer = (await raw.request("GET", "/.well-known/openid-configuration")).json["issuer"]
        assert issuer == "https://kubernetes.default.svc.cluster.local"
        await nobody.close()

    check(body, tmp_path)


def test_restart_keeps_authority_certificates_and_kubeconfig(tmp_path: Any) -> None:
    async def main() -> None:
        async with serving(tmp_path):
            before = {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()}
        async with serving(tmp_path):
            after = {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()}
        assert before == after
        for path in [*(tmp_path / "pki").glob("*.key"), tmp_path / "kubeconfig"]:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    run(main())


def test_half_an_authority_is_refused(tmp_path: Any) -> None:
    Authority.open(tmp_path)
    (tmp_path / "ca.crt").unlink()
    with pytest.raises(PluginError, match=r"ca\.key is there and .*ca\.crt is not"):
        Authority.open(tmp_path)


def test_subject_of_a_certificate(tmp_path: Any) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    pair = Authority.open(tmp_path).issue("jürgen", organizations=("a", "b" * 60), names=("localhost", "::1"))
    der = x509.load_pem_x509_certificate(pair.certificate).public_bytes(Encoding.DER)
    assert subject(der) == ("jürgen", ("a", "b" * 60))
    for cut in range(0, 120, 7):
        with pytest.raises(ValueError, match="certificate"):
            subject(der[:cut])


def test_decisions_take_microseconds() -> None:
    policy = Policy()
    for number in range(500):
        policy.put_role(role(f"r{number}", READ_PODS))
        policy.put_binding(binding(f"b{number}", f"r{number}", f"user-{number}"))
    asked = [
        Attributes(UserInfo(f"user-{number}"), "get", "", "v1", "pods", "", "default", f"pod-{number}")
        for number in range(500)
    ]
    assert all(policy.allows(attributes) for attributes in asked)
    begin = time.perf_counter()
    for _ in range(20):
        for attributes in asked:
            policy.allows(attributes)
    # A generous bound that only a scan over all bindings would break.
    assert (time.perf_counter() - begin) / 10_000 < 200e-6


@pytest.mark.parametrize(
    ("rule", "attributes", "allowed"),
    [
        pytest.param({"resources": ["pods"]}, ("pods", "", "a"), True, id="plain"),
        pytest.param({"resources": ["pods"]}, ("pods", "log", "a"), False, id="subresource-apart"),
        pytest.param({"resources": ["pods/log"]}, ("pods", "log", "a"), True, id="subresource"),
        pytest.param({"resources": ["*/log"]}, ("pods", "log", "a"), True, id="subresource-of-all"),
        pytest.param({"resources": ["*"]}, ("pods", "log", "a"), True, id="all"),
        pytest.param({"resources": ["pods"], "resourceNames": ["a"]}, ("pods", "", "a"), True, id="named"),
        pytest.param(
            {"resources": ["pods"], "resourceNames": ["a"]}, ("pods", "", "b"), False, id="other-name"
        ),
        pytest.param({"resources": ["pods"], "resourceNames": ["a"]}, ("pods", "", ""), False, id="no-name"),
    ],
)
def test_rules_match(rule: Any, attributes: tuple[str, str, str], allowed: bool) -> None:
    policy = Policy()
    policy.put_role(role("r", {"apiGroups": [""], "verbs": ["get"], **rule}))
    policy.put_binding(binding("b", "r", "u"))
    resource, subresource, name = attributes
    asked = Attributes(UserInfo("u"), "get", "", "v1", resource, subresource, "n", name)
    assert policy.allows(asked) is allowed
