"""Which answers are compressed."""

from __future__ import annotations

import pytest

from infergraph.serving.http.exchange import accepts_gzip


@pytest.mark.parametrize(
    ("accepted", "is_taken"),
    [
        (b"gzip", True),
        (b"gzip, deflate, br", True),
        (b"deflate;q=1, gzip;q=0.5", True),
        (b"gzip;q=0.01", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000, identity", False),
        (b"deflate", False),
        (b"", False),
    ],
)
def test_gzip_is_for_those_who_take_it(accepted: bytes, is_taken: bool) -> None:
    """A weight of 0 refuses it (RFC 9110, section 12.5.3)."""
    assert accepts_gzip(accepted) is is_taken
