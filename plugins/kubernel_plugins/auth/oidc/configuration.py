"""AuthenticationConfiguration: the ``jwt`` authenticators, checked and compiled.

Source: k8s.io/apiserver/pkg/apis/apiserver/validation, pkg/authentication/cel (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kubernel import cel
from kubernel.config.document import read as read_document
from kubernel.errors import PluginError, Unauthorized

__all__ = ["Issuer", "Mapped", "evaluated", "read"]

_CLAIMS = cel.Environment({"claims": cel.map_of(cel.STRING, cel.DYN)})
_USER = cel.Environment(
    {
        "user": cel.object_type(
            "kubernetes.UserInfo",
            {
                "username": cel.STRING,
                "uid": cel.STRING,
                "groups": cel.list_of(cel.STRING),
                "extra": cel.map_of(cel.STRING, cel.list_of(cel.STRING)),
            },
        )
    }
)
_STRINGS = (cel.STRING, cel.list_of(cel.STRING), cel.list_of(cel.DYN), cel.DYN)


class Rule(NamedTuple):
    program: cel.Program
    message: str


class Mapped:
    """One claim mapping: a claim with a prefix, or an expression."""

    def __init__(self, spec: Mapping[str, Any], place: str, returns: Iterable[cel.Type]) -> None:
        self.claim: str = spec.get("claim") or ""
        self.prefix: str = spec.get("prefix") or ""
        self.program: cel.Program | None = None
        if bool(self.claim) == bool(spec.get("expression")):
            raise PluginError(f"auth/oidc: {place}: either claim or expression must be set, and not both")
        if spec.get("expression"):
            if spec.get("prefix"):
                raise PluginError(f"auth/oidc: {place}: prefix may not be set when expression is set")
            self.program = _compiled(_CLAIMS, spec["expression"], place, returns)

    def value(self, claims: Mapping[str, Any]) -> Any:
        """None when the claim is not there. Raises Unauthorized."""
        if self.program is None:
            return claims.get(self.claim)
        return evaluated(self.program, {"claims": claims})


def evaluated(program: cel.Program, values: Mapping[str, Any]) -> Any:
    try:
        return program.evaluate(values)
    except cel.EvaluationError:
        raise Unauthorized from None


def _compiled(where: cel.Environment, source: str, place: str, returns: Iterable[cel.Type]) -> cel.Program:
    try:
        program = where.compile(source)
    except cel.CompileError as error:
        raise PluginError(f"auth/oidc: {place}: compilation failed: {error}") from None
    if program.result not in tuple(returns):
        raise PluginError(f"auth/oidc: {place}: must evaluate to {' or '.join(map(str, returns))}")
    return program


class Issuer:
    """One entry of ``jwt``."""

    def __init__(self, spec: Mapping[str, Any], place: str) -> None:
        issuer = spec.get("issuer") or {}
        self.url: str = issuer.get("url") or ""
        if not self.url.startswith("https://"):
            raise PluginError(f"auth/oidc: {place}.issuer.url: URL scheme must be https")
        self.discovery: str = issuer.get("discoveryURL") or (
            f"{self.url.rstrip('/')}/.well-known/openid-configuration"
        )
        self.ca: bytes = (issuer.get("certificateAuthority") or "").encode()
        self.audiences = frozenset(issuer.get("audiences") or ())
        if not self.audiences:
            raise PluginError(f"auth/oidc: {place}.issuer.audiences: at least one is required")
        if len(self.audiences) > 1 and issuer.get("audienceMatchPolicy") != "MatchAny":
            raise PluginError(
                f"auth/oidc: {place}.issuer.audienceMatchPolicy: must be MatchAny for multiple audiences"
            )
        mappings = spec.get("claimMappings") or {}
        username = mappings.get("username") or {}
        if username.get("claim") and "prefix" not in username:
            raise PluginError(
                f"auth/oidc: {place}.claimMappings.username.prefix: required when claim is set; may be empty"
            )
        self.username = Mapped(username, f"{place}.claimMappings.username", (cel.STRING, cel.DYN))
        self.groups = self._optional(mappings, "groups", place, _STRINGS)
        self.uid = self._optional(mappings, "uid", place, (cel.STRING, cel.DYN))
        self.extra = [
            (
                one.get("key") or "",
                _compiled(_CLAIMS, one.get("valueExpression") or "", f"{place}.extra", _STRINGS),
            )
            for one in mappings.get("extra") or ()
        ]
        self.required: list[tuple[str, str]] = []
        self.claim_rules: list[Rule] = []
        for number, rule in enumerate(spec.get("claimValidationRules") or ()):
            if rule.get("claim"):
                self.required.append((rule["claim"], rule.get("requiredValue") or ""))
            else:
                where = f"{place}.claimValidationRules[{number}].expression"
                program = _compiled(_CLAIMS, rule.get("expression") or "", where, (cel.BOOL, cel.DYN))
                self.claim_rules.append(Rule(program, rule.get("message") or ""))
        self.user_rules = [
            Rule(
                _compiled(
                    _USER, rule.get("expression") or "", f"{place}.userValidationRules[{number}]", (cel.BOOL,)
                ),
                rule.get("message") or "",
            )
            for number, rule in enumerate(spec.get("userValidationRules") or ())
        ]

    @staticmethod
    def _optional(
        mappings: Mapping[str, Any], key: str, place: str, returns: Iterable[cel.Type]
    ) -> Mapped | None:
        told = mappings.get(key)
        return Mapped(told, f"{place}.claimMappings.{key}", returns) if told else None


def read(path: str) -> list[Issuer]:
    """The issuers of the AuthenticationConfiguration in a file. ConfigError and PluginError say what cannot be used."""
    document = read_document(Path(path)).plain()
    group = "apiserver.config.k8s.io/v1"
    known = isinstance(document, dict) and str(document.get("apiVersion", "")).startswith(group)
    if not known or document.get("kind") != "AuthenticationConfiguration":
        raise PluginError(f"auth/oidc: {path} is no AuthenticationConfiguration of apiserver.config.k8s.io")
    issuers = [
        Issuer(spec, f"{path}: jwt[{number}]") for number, spec in enumerate(document.get("jwt") or ())
    ]
    urls = [issuer.url for issuer in issuers]
    for url in urls:
        if urls.count(url) > 1:
            raise PluginError(f"auth/oidc: {path}: the issuer {url} is there twice")
    return issuers
