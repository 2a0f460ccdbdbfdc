"""Tokens of an issuer."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infergraph.auth.tokens import Issuer, IssuerKeys, Tokens, fetched
from infergraph.errors import SettingsError
from infergraph.protocol.callers import Scope
from token_issuer import AUDIENCE, issuing
from token_issuer import Issuer as Publisher


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with issuing() as running:
        yield running


def tokens_of(publisher: Publisher, **more: object) -> tuple[Tokens, IssuerKeys]:
    """What verifies its tokens, with the keys that it has now."""
    keys = IssuerKeys(lambda: fetched(publisher.url))
    keys.renew()
    issuer = Issuer(url=publisher.url, audience=AUDIENCE, **more)  # type: ignore[arg-type]
    return Tokens(issuer, keys), keys


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_token_names_its_caller_and_its_scopes(publisher: Publisher, algorithm: str) -> None:
    """By each kind of signature; the same token is verified once."""
    tokens, _ = tokens_of(publisher)
    token = publisher.token(algorithm, scope="openid predict infergraph:tasks other:admin").encode()
    caller = tokens.find(token)
    assert caller is not None
    assert (caller.name, caller.scopes) == ("me@127.0.0.1", {Scope.PREDICT, Scope.TASKS})
    assert tokens.find(token) is caller


def test_scopes_may_be_a_list_in_a_claim_of_any_name(publisher: Publisher) -> None:
    """As several issuers have them."""
    tokens, _ = tokens_of(publisher, scopes_claim="roles")
    caller = tokens.find(publisher.token("ES256", roles=["admin", 7, None]).encode())
    assert caller is not None
    assert caller.scopes == {Scope.ADMIN}


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"exp": -1e308},
        {"sub": None},
        {"sub": ""},
        {"nbf": int(time.time()) + 3600},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_us_or_not_for_now_is_none(publisher: Publisher, claims: dict[str, object]) -> None:
    """Issuer, audience, subject and expiry have to be there and fit."""
    tokens, _ = tokens_of(publisher)
    assert tokens.find(publisher.token("ES256", **claims).encode()) is None


def test_clocks_may_differ_a_little(publisher: Publisher) -> None:
    """A token that has just ended is taken within the leeway, and not without one."""
    token = publisher.token("ES256", exp=int(time.time()) - 5).encode()
    assert tokens_of(publisher, leeway_s=60.0)[0].find(token) is not None
    assert tokens_of(publisher, leeway_s=0.0)[0].find(token) is None


def test_signatures_that_anybody_could_make_are_none(publisher: Publisher) -> None:
    """Not unsigned, not by a shared secret, not by the public key taken for one, not by another key of the same id."""
    tokens, _ = tokens_of(publisher)
    claims = {"iss": publisher.url, "aud": AUDIENCE, "sub": "me", "exp": int(time.time()) + 60, "scope": "admin"}
    public = publisher.keys["RS256"][1].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "RS256"}).encode()).rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    by_public = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    confused = (
        head + b"." + body + b"." + base64.urlsafe_b64encode(by_public.sign(head + b"." + body, pem)).rstrip(b"=")
    )
    with issuing() as stranger:
        forged = [
            jwt.encode(claims, None, "none", headers={"kid": "RS256"}).encode(),
            jwt.encode(claims, "x" * 32, "HS256", headers={"kid": "RS256"}).encode(),
            confused,
            stranger.token("ES256", iss=publisher.url).encode(),
            publisher.token("ES256").encode()[:-6] + b"AAAAAA",
        ]
    assert [tokens.find(token) for token in forged] == [None] * len(forged)


def test_keys_are_rotated(publisher: Publisher) -> None:
    """A new key is asked for by the first token that names it; one that is taken back takes its tokens with it."""
    tokens, keys = tokens_of(publisher)
    publisher.add("new")
    old, new = publisher.token("EdDSA").encode(), publisher.token("new").encode()
    assert tokens.find(old) is not None
    assert tokens.find(new) is None
    assert keys._wanted.is_set()
    del publisher.keys["EdDSA"]
    keys.renew()
    assert tokens.find(new) is not None
    assert tokens.find(old) is None
    publisher.add("EdDSA", "EdDSA")


def test_an_issuer_that_is_gone_keeps_its_keys(publisher: Publisher) -> None:
    """Trouble of the network refuses nobody who was let in before."""
    answers = [fetched(publisher.url)]
    keys = IssuerKeys(lambda: answers.pop())
    keys.renew()
    keys.renew()
    assert keys.get("ES256") is not None


@pytest.mark.parametrize(
    ("url", "audience"),
    [("http://issuer.example", "x"), ("file:///etc/passwd", "x"), ("issuer", "x"), ("https://issuer.example", "")],
)
def test_an_issuer_that_cannot_be_trusted_is_refused_at_the_start(url: str, audience: str) -> None:
    """Its keys come over https, and its tokens have to be for us."""
    with pytest.raises(SettingsError, match="oidc_"):
        Issuer(url=url, audience=audience).check()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from([b"", b"eyJ", b"eyJhbGciOiJFUzI1NiJ9."]))
def test_any_bytes_are_no_token(publisher: Publisher, rest: bytes, head: bytes) -> None:
    """Whatever a header holds, it is a token or it is not."""
    keys = IssuerKeys(dict)
    assert Tokens(Issuer(url=publisher.url, audience=AUDIENCE), keys).find(head + rest) is None
