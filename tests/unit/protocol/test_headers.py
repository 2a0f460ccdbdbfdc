"""Headers of the protocol: request ids."""

from __future__ import annotations

import uuid

from infergraph.protocol.headers import new_puid


def test_ids_are_random_uuids() -> None:
    """A new id is a UUID of version 4, written as the uuid module writes it, and no two are alike."""
    ids = [new_puid() for _ in range(100)]
    assert all(uuid.UUID(each).version == 4 and str(uuid.UUID(each)) == each for each in ids)
    assert len(set(ids)) == len(ids)
