"""Constructor parameters."""

import json

import pytest

from infergraph.component import parse_parameters
from infergraph.errors import SettingsError


def entry(name: str, value: object, kind: str) -> dict[str, object]:
    return {"name": name, "value": value, "type": kind}


def test_each_type_is_converted() -> None:
    """Values are typed as the platform's table says, numbers and booleans in their usual spellings."""
    given = [
        entry("s", "abc", "STRING"), entry("i", "5", "INT"), entry("f", "1.5", "FLOAT"), entry("d", "2", "DOUBLE"),
        entry("b1", "true", "BOOL"), entry("b0", "0", "BOOL"), entry("by", "yes", "BOOL"), entry("n", 7, "INT"),
    ]  # fmt: skip
    expected = {"s": "abc", "i": 5, "f": 1.5, "d": 2.0, "b1": True, "b0": False, "by": True, "n": 7}
    assert parse_parameters(json.dumps(given)) == expected
    assert parse_parameters(given) == expected
    assert parse_parameters("") == {}


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("{", "JSON"),
        ("{}", "list"),
        ([entry("i", "x", "INT")], "i"),
        ([entry("i", "x", "UINT")], "UINT"),
        ([entry("b", "perhaps", "BOOL")], "perhaps"),
        ([{"name": "a"}], "parameter 0"),
    ],
)
def test_what_cannot_be_read_is_named(given: object, word: str) -> None:
    """An unreadable list or entry is a SettingsError with the platform's reason that names it."""
    with pytest.raises(SettingsError, match=word) as caught:
        parse_parameters(given)  # type: ignore[arg-type]
    assert caught.value.reason == "MICROSERVICE_BAD_PARAMETER"
