"""A token becomes a user: signature, expiry, audience, then the issuer's rules and mappings."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.errors import Unauthorized
from kubernel.registry.request import UserInfo
from kubernel_plugins.auth.oidc.configuration import Issuer, evaluated
from kubernel_plugins.webhooks import Caller, CallFailed, Target

if TYPE_CHECKING:
    from kubernel.plugin import Handle

__all__ = ["Verifier"]

_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
_TIMEOUT = 30
_LONGEST = 16384
_FETCH_AGAIN = 10.0
"""Seconds between two fetches of an issuer's keys for the sake of unknown ones."""


class _Keys:
    def __init__(self) -> None:
        self.by_id: dict[str, Any] = {}
        self.fetched = float("-inf")


class Verifier:
    def __init__(self, handle: Handle, issuers: Sequence[Issuer]) -> None:
        self._handle = handle
        self._issuers = {issuer.url: issuer for issuer in issuers}
        self._keys = {issuer.url: _Keys() for issuer in issuers}
        self._caller = Caller(handle)

    async def close(self) -> None:
        await self._caller.close()

    def is_ours(self, token: str) -> bool:
        return _part(token, 1).get("iss") in self._issuers

    async def user(self, token: str) -> UserInfo:
        """Raises Unauthorized."""
        import jwt

        header, issuer = _part(token, 0), self._issuers[str(_part(token, 1).get("iss"))]
        key = await self._key(issuer, str(header.get("kid") or ""))
        if key is None or header.get("alg") not in _ALGORITHMS:
            raise Unauthorized
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[str(header["alg"])],
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False},
            )
        except (jwt.InvalidTokenError, TypeError, ValueError):
            raise Unauthorized from None
        self._check_times(claims)
        told = claims.get("aud") or []
        audiences = [told] if isinstance(told, str) else told
        if not issuer.audiences.intersection(audiences):
            raise Unauthorized
        return _mapped(issuer, claims)

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._handle.clock.time()
        expires, begins = claims.get("exp"), claims.get("nbf", 0)
        if not isinstance(expires, int | float) or expires <= now:
            raise Unauthorized
        # Clocks differ: five minutes, as upstream's library.
        if not isinstance(begins, int | float) or begins > now + 300:
            raise Unauthorized

    async def _key(self, issuer: Issuer, identity: str) -> Any:
        keys = self._keys[issuer.url]
        now = self._handle.clock.monotonic()
        if identity not in keys.by_id and now - keys.fetched >= _FETCH_AGAIN:
            keys.fetched = now
            try:
                keys.by_id = await self._fetch(issuer)
            except CallFailed as error:
                self._handle.log.warning("the keys of {} cannot be had: {}", issuer.url, error)
        return keys.by_id.get(identity)

    async def _fetch(self, issuer: Issuer) -> dict[str, Any]:
        import jwt

        document = await self._json(issuer.discovery, issuer.ca)
        if document.get("issuer") != issuer.url:
            raise CallFailed(f'the document says that the issuer is "{document.get("issuer")}"')
        found: dict[str, Any] = {}
        for entry in (await self._json(str(document.get("jwks_uri") or ""), issuer.ca)).get("keys") or ():
            if entry.get("use", "sig") != "sig" or entry.get("kty") not in ("RSA", "EC"):
                continue
            try:
                found[str(entry.get("kid") or "")] = jwt.PyJWK(entry).key
            except jwt.PyJWTError as error:
                self._handle.log.warning("a key of {} is not usable: {}", issuer.url, error)
        return found

    async def _json(self, url: str, ca: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(await self._caller.get(Target(url, ca), _TIMEOUT))
        except ValueError:
            raise CallFailed(f"{url} is no JSON") from None
        if not isinstance(answer, dict):
            raise CallFailed(f"{url} is no JSON object")
        return answer


def _part(token: str, number: int) -> dict[str, Any]:
    """Header (0) or claims (1) of a JWT, unverified; empty for anything else."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > _LONGEST:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[number] + "=" * (-len(parts[number]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _mapped(issuer: Issuer, claims: dict[str, Any]) -> UserInfo:
    for claim, required in issuer.required:
        if claims.get(claim) != required:
            raise Unauthorized
    for rule in issuer.claim_rules:
        if evaluated(rule.program, {"claims": claims}) is not True:
            raise Unauthorized
    name = issuer.username.value(claims)
    if not isinstance(name, str) or not name:
        raise Unauthorized
    # An address that nobody has confirmed is nobody's name.
    if issuer.username.claim == "email" and claims.get("email_verified", True) is not True:
        raise Unauthorized
    groups: tuple[str, ...] = ()
    if issuer.groups is not None:
        groups = tuple(issuer.groups.prefix + group for group in _strings(issuer.groups.value(claims)))
    uid = ""
    if issuer.uid is not None:
        told = issuer.uid.value(claims)
        if not isinstance(told, str):
            raise Unauthorized
        uid = told
    extra = {
        key: values
        for key, program in issuer.extra
        if (values := _strings(evaluated(program, {"claims": claims})))
    }
    user = UserInfo(issuer.username.prefix + name, groups, uid, extra)
    seen = {
        "username": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in extra.items()},
    }
    for rule in issuer.user_rules:
        if evaluated(rule.program, {"user": seen}) is not True:
            raise Unauthorized
    return user


def _strings(value: Any) -> tuple[str, ...]:
    """A text or a list of texts; empty texts do not count. Raises Unauthorized."""
    if value is None or value == "":
        return ()
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise Unauthorized
    return tuple(one for one in values if one)
