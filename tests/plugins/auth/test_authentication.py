"""Who clients are: bootstrap tokens, OpenID Connect, webhooks, trusted proxies."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from webhook_kit import WebhookServer

from kubernel.clock import rfc3339
from kubernel.errors import PluginError, Unauthorized
from kubernel.plugin.contract import CertificateAuthority
from kubernel.registry.attributes import Credentials
from kubernel.registry.request import UserInfo
from kubernel.testing import Cluster
from kubernel_plugins.authority import Authority


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebhookServer]:
    made = WebhookServer(tmp_path / "server")
    yield made
    made.stop()


def plugins(*auth: Any) -> dict[str, Any]:
    return {"plugins": {"auth": list(auth), "node": None, "scheduler": None, "controller": ["bootstrap"]}}


def who(cluster: Cluster, token: str) -> UserInfo | None:
    return cluster.run(cluster.kernel.hooks.authenticate(Credentials(token=token)))


# --- bootstrap tokens


def bootstrap(cluster: Cluster, **changes: str | None) -> None:
    data = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:workers",
        **changes,
    }
    encoded = {
        key: base64.b64encode(value.encode()).decode() for key, value in data.items() if value is not None
    }
    cluster.create(
        {
            "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token", "data": encoded,
            "metadata": {"name": "bootstrap-token-abcdef"},
        },
        namespace="kube-system",
    )  # fmt: skip


GOOD = "abcdef.0123456789abcdef"


def test_the_bearer_of_a_bootstrap_token_is_a_bootstrapper_until_the_secret_goes() -> None:
    with Cluster(config=plugins("bootstrap_token")) as cluster:
        assert who(cluster, GOOD) is None
        bootstrap(cluster)
        assert who(cluster, GOOD) == UserInfo(
            "system:bootstrap:abcdef", ("system:bootstrappers", "system:bootstrappers:workers")
        )
        for wrong in (
            "abcdef.0123456789abcdee",
            "ABCDEF.0123456789abcdef",
            f"{GOOD}x",
            "../abc.0123456789abcdef",
        ):
            assert who(cluster, wrong) is None
        cluster.delete("secrets", "bootstrap-token-abcdef", "kube-system")
        assert who(cluster, GOOD) is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"usage-bootstrap-authentication": "false"}, id="not-for-authentication"),
        pytest.param({"usage-bootstrap-authentication": None}, id="not-said"),
        pytest.param({"token-id": "ghijkl"}, id="other-id"),
        pytest.param({"expiration": "2000-01-01T00:00:00Z"}, id="over"),
        pytest.param({"expiration": "soon"}, id="no-time"),
        pytest.param({"auth-extra-groups": "system:masters"}, id="a-group-of-others"),
    ],
)
def test_a_bootstrap_token_that_is_not_in_order_is_nobodys(changes: dict[str, str | None]) -> None:
    with Cluster(config=plugins("bootstrap_token")) as cluster:
        bootstrap(cluster, **changes)
        assert who(cluster, GOOD) is None


def test_a_bootstrap_token_expires() -> None:
    with Cluster(config=plugins("bootstrap_token")) as cluster:
        bootstrap(cluster, expiration=rfc3339(cluster.clock.time() + 60))
        assert who(cluster, GOOD) is not None
        cluster.clock.advance("2m")
        assert who(cluster, GOOD) is None


# --- OpenID Connect


class Issuer:
    """An issuer with discovery and keys on a real server."""

    def __init__(self, server: WebhookServer, directory: Path) -> None:
        self.url = f"https://127.0.0.1:{server.port}"
        self.server = server
        self.directory = directory
        self.ca = base64.b64decode(server.ca).decode()
        self.rotate("first")
        self.server.documents["/.well-known/openid-configuration"] = json.dumps(
            {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        ).encode()

    def rotate(self, name: str) -> None:
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        entry = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        self.server.documents["/keys"] = json.dumps({"keys": [{**entry, "kid": name, "use": "sig"}]}).encode()

    def token(self, now: float, *, key: Any = None, **claims: Any) -> str:
        told = {"iss": self.url, "aud": "kubernetes", "sub": "jane", "exp": int(now) + 600, **claims}
        return jwt.encode(told, key or self.key, "ES256", headers={"kid": self.name})

    def config(self, **spec: Any) -> str:
        entry = {
            "issuer": {"url": self.url, "audiences": ["kubernetes"], "certificateAuthority": self.ca},
            "claimMappings": {
                "username": {"claim": "sub", "prefix": "oidc:"},
                "groups": {"claim": "roles", "prefix": "o:"},
            },
            **spec,
        }
        document = {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": [entry],
        }
        path = self.directory / "authentication.yaml"
        path.write_text(json.dumps(document))
        return str(path)


@pytest.fixture
def issuer(server: WebhookServer, tmp_path: Path) -> Issuer:
    return Issuer(server, tmp_path)


def serving(config: str) -> Cluster:
    return Cluster(config=plugins({"oidc": {"config": config}}), real_time=True)


def test_a_token_of_the_issuer_is_mapped_to_a_user(issuer: Issuer) -> None:
    with serving(issuer.config()) as cluster:
        now = cluster.clock.time()
        assert who(cluster, issuer.token(now, roles=["devs", "ops"])) == UserInfo(
            "oidc:jane", ("o:devs", "o:ops")
        )
        assert who(cluster, issuer.token(now, roles="devs")) == UserInfo("oidc:jane", ("o:devs",))
        assert who(cluster, issuer.token(now, iss="https://other.example")) is None
        assert who(cluster, "no.jwt.atall") is None


def test_a_changed_configuration_is_taken_within_a_minute_and_a_broken_one_is_not(issuer: Issuer) -> None:
    path = Path(issuer.config())
    whole = path.read_text()
    path.write_text(json.dumps({**json.loads(whole), "jwt": []}))
    with Cluster(config=plugins({"oidc": {"config": str(path)}})) as cluster:
        oidc: Any = cluster.kernel._units["auth/oidc"].plugin
        shown = Credentials(token=issuer.token(cluster.clock.time()))

        def is_known() -> bool:
            asked = oidc.kubernel_authenticate(shown)
            if asked is not None:
                asked.close()
            return asked is not None

        assert not is_known()
        path.write_text(whole)
        cluster.clock.advance(61)
        assert is_known()
        path.write_text("{")
        cluster.clock.advance(61)
        assert is_known()


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"aud": "others"}, id="audience"),
        pytest.param({"exp": 1}, id="expired"),
        pytest.param({"exp": "never"}, id="no-expiry"),
        pytest.param({"nbf": 4102444800}, id="not-yet"),
        pytest.param({"sub": ""}, id="no-name"),
        pytest.param({"sub": 7}, id="a-number"),
        pytest.param({"roles": {"a": "b"}}, id="groups-that-are-none"),
    ],
)
def test_a_token_that_is_not_in_order_is_refused(issuer: Issuer, claims: dict[str, Any]) -> None:
    with serving(issuer.config()) as cluster, pytest.raises(Unauthorized):
        who(cluster, issuer.token(cluster.clock.time(), **claims))


def test_a_forged_signature_is_refused_and_so_is_none(issuer: Issuer) -> None:
    with serving(issuer.config()) as cluster:
        now = cluster.clock.time()
        with pytest.raises(Unauthorized):
            who(cluster, issuer.token(now, key=ec.generate_private_key(ec.SECP256R1())))
        unsigned = jwt.encode({"iss": issuer.url, "aud": "kubernetes", "sub": "root"}, None, "none")
        with pytest.raises(Unauthorized):
            who(cluster, unsigned)


def test_new_keys_of_the_issuer_are_found(issuer: Issuer) -> None:
    with serving(issuer.config()) as cluster:
        assert who(cluster, issuer.token(cluster.clock.time())) is not None
        issuer.rotate("second")
        verifier: Any = cluster.kernel.plugin("auth", "oidc")
        for keys in verifier._verifier._keys.values():
            keys.fetched -= 60
        assert who(cluster, issuer.token(cluster.clock.time())) is not None


def test_expressions_map_and_validate(issuer: Issuer) -> None:
    config = issuer.config(
        claimMappings={
            "username": {"expression": "claims.email"},
            "groups": {"expression": "claims.roles.split(',')"},
            "uid": {"claim": "sub"},
            "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"}],
        },
        claimValidationRules=[
            {"claim": "hd", "requiredValue": "example.com"},
            {"expression": "claims.email_verified == true", "message": "verify your address"},
        ],
        userValidationRules=[{"expression": "!user.username.startsWith('system:')", "message": "reserved"}],
    )
    claims = {
        "email": "jane@example.com",
        "email_verified": True,
        "roles": "a,b",
        "tenant": "blue",
        "hd": "example.com",
    }
    with serving(config) as cluster:
        now = cluster.clock.time()
        assert who(cluster, issuer.token(now, **claims)) == UserInfo(
            "jane@example.com", ("a", "b"), "jane", {"example.com/tenant": ("blue",)}
        )
        for wrong in ({"hd": "x"}, {"email_verified": False}, {"email": "system:admin"}):
            with pytest.raises(Unauthorized):
                who(cluster, issuer.token(now, **{**claims, **wrong}))


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        pytest.param(
            {"issuer": {"url": "http://x", "audiences": ["a"]}}, "URL scheme must be https", id="scheme"
        ),
        pytest.param(
            {"issuer": {"url": "https://x", "audiences": []}}, "at least one is required", id="audience"
        ),
        pytest.param(
            {"claimMappings": {"username": {"claim": "sub"}}}, "required when claim is set", id="prefix"
        ),
        pytest.param({"claimMappings": {}}, "either claim or expression", id="no-name"),
        pytest.param(
            {"claimValidationRules": [{"expression": "claims.x +"}]}, "compilation failed", id="no-expression"
        ),
    ],
)
def test_a_configuration_that_cannot_work_stops_the_start(
    issuer: Issuer, spec: dict[str, Any], told: str
) -> None:
    with pytest.raises(PluginError, match=told):
        serving(issuer.config(**spec))


# --- webhooks


def test_tokens_are_reviewed_by_another_server_and_answers_are_kept(
    server: WebhookServer, tmp_path: Path
) -> None:
    def review(asked: dict[str, Any]) -> tuple[int, bytes]:
        good = asked["spec"]["token"] == "good"
        user = {"username": "carol", "uid": "7", "groups": ["devs"], "extra": {"scopes": ["a"]}}
        status = {"authenticated": good, **({"user": user} if good else {})}
        return 200, json.dumps({**asked, "status": status}).encode()

    server.raw["/tokens"] = review
    settings = {"kubeconfig": server.kubeconfig(tmp_path, "/tokens")}
    with Cluster(config=plugins({"token_webhook": settings}), real_time=True) as cluster:
        expected = UserInfo("carol", ("devs",), "7", {"scopes": ("a",)})
        assert who(cluster, "good") == who(cluster, "good") == expected
        assert who(cluster, "bad") is None
        assert len(server.asked) == 2
        server.raw["/tokens"] = lambda asked: (500, b"broken")
        with pytest.raises(Unauthorized):
            who(cluster, "other")


# --- trusted proxies


def test_a_proxys_own_authority_makes_proxies_and_no_users(tmp_path: Path) -> None:
    proxies = Authority.open(tmp_path / "proxies")

    def shown(authority: CertificateAuthority, name: str, **headers: str) -> Credentials:
        pem = authority.issue(name, organizations=("system:masters",)).certificate.decode()
        return Credentials(ssl.PEM_cert_to_DER_cert(pem), None, headers)

    settings = {"clientCaFile": str(tmp_path / "proxies" / "ca.crt")}
    with Cluster(config=plugins({"request_header": settings}, "x509")) as cluster:

        def ask(credentials: Credentials) -> str:
            user = cluster.run(cluster.kernel.hooks.authenticate(credentials))
            return user.name if user is not None else ""

        own = cluster.kernel.hooks.certificate_authority()
        assert own is not None
        assert ask(shown(proxies, "any-proxy", **{"x-remote-user": "jane"})) == "jane"
        assert ask(shown(proxies, "kubernetes-admin")) == ""
        assert ask(shown(own, "carol", **{"x-remote-user": "jane"})) == "carol"


def test_an_authority_of_proxies_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    config = plugins({"request_header": {"clientCaFile": str(tmp_path / "ca.crt")}}, "x509")
    with (
        pytest.raises(PluginError, match=r"auth/request_header: clientCaFile .*ca\.crt"),
        Cluster(config=config),
    ):
        pass


def test_a_proxy_is_believed_if_its_name_is_allowed(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "pki")

    def shown(name: str, **headers: str) -> Credentials:
        import ssl

        pem = authority.issue(name).certificate.decode()
        return Credentials(ssl.PEM_cert_to_DER_cert(pem), None, headers)

    headers = {"x-remote-user": "jane", "x-remote-group": "devs", "x-remote-extra-example.com%2fscope": "a"}
    config = plugins({"request_header": {"allowedNames": ["proxy"]}}, "x509")
    with Cluster(config=config) as cluster:

        def ask(credentials: Credentials) -> UserInfo | None:
            return cluster.run(cluster.kernel.hooks.authenticate(credentials))

        assert ask(shown("proxy", **headers)) == UserInfo(
            "jane", ("devs",), "", {"example.com/scope": ("a",)}
        )
        other = ask(shown("mallory", **headers))
        assert other is not None
        assert other.name == "mallory"
        plain = ask(shown("proxy"))
        assert plain is not None
        assert plain.name == "proxy"
