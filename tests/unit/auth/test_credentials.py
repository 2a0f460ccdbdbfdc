"""The secret that a request carries."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.auth.credentials import secret_of, secret_of_metadata


def basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({}, None),
        ({b"authorization": b"Bearer abc"}, b"abc"),
        ({b"authorization": b"bearer   abc "}, b"abc"),
        ({b"x-api-key": b" abc "}, b"abc"),
        ({b"x-api-key": b"abc", b"authorization": b"Bearer of-a-proxy"}, b"abc"),
        ({b"authorization": basic(b"abc:")}, b"abc"),
        ({b"authorization": basic(b"abc")}, b"abc"),
        ({b"authorization": basic(b"me:abc")}, b"abc"),
        ({b"authorization": basic(b"me:a:b")}, b"a:b"),
        ({b"authorization": b"Basic ***"}, b""),
        ({b"authorization": b"Digest abc"}, b""),
        ({b"authorization": b""}, b""),
    ],
)
def test_each_way_of_giving_a_key(headers: dict[bytes, bytes], secret: bytes | None) -> None:
    """X-API-Key goes before Authorization; of Basic the password, or the user where there is none."""
    assert secret_of(headers) == secret
    metadata = [(name.decode(), value.decode()) for name, value in headers.items()]
    assert secret_of_metadata([("other", "x"), *metadata]) == secret


@given(st.dictionaries(st.sampled_from([b"authorization", b"x-api-key"]), st.binary()))
def test_any_bytes_are_a_secret_or_none(headers: dict[bytes, bytes]) -> None:
    """No header makes it raise."""
    assert isinstance(secret_of(headers), bytes | None)
