"""The unpickler that builds nothing but what is listed."""

from __future__ import annotations

import io
import os
import pickle

import pytest

from infergraph_knowledge.pickles import ListedUnpickler


class Evil:
    """Pickles as a call of os.mkdir."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_calls_is_refused_before_it_calls(protocol, tmp_path):
    """A global that is not listed is named and never looked up, whatever the protocol."""
    data = pickle.dumps({"weights": Evil(str(tmp_path / "made"))}, protocol)
    with pytest.raises(pickle.UnpicklingError, match=r"asks for (posix|nt|os)\.mkdir, which is not on the list"):
        ListedUnpickler(io.BytesIO(data), {("builtins", "set"): set}).load()
    assert not (tmp_path / "made").exists()


def test_what_is_listed_is_built_by_its_stand_in():
    """A listed global is replaced by what stands for it; plain values need no listing."""
    data = pickle.dumps(({"a": [1.5, "x", None]}, {1, 2}), 2)
    stand_in = {("__builtin__", "set"): frozenset, ("builtins", "set"): frozenset}
    assert ListedUnpickler(io.BytesIO(data), stand_in).load() == ({"a": [1.5, "x", None]}, frozenset({1, 2}))
