"""Large JSON in slices: the same value and the same faults as read at once, and its cost known beforehand."""

from __future__ import annotations

import json
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.errors import PayloadError, UploadTooLarge
from infergraph.wire import json_slices, json_text
from infergraph.wire.bodies_memory import BodiesMemory, ValuesAccount
from infergraph.wire.json_slices import Survey

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["", "a", '"', "\\", '\\"', "[,{", "]}", "é", "😀", "\ud83d", "\0"]),
    st.text(max_size=5),
)
KEYS = st.sampled_from(["", "a", "b", "\\", '"', "é", "],"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=40
)
TEXTS = st.builds(
    lambda value, ascii, separators: json.dumps(value, ensure_ascii=ascii, separators=separators).encode(
        "utf-8", "surrogatepass"
    ),
    VALUES,
    st.booleans(),
    st.sampled_from([(",", ":"), (" , ", "\n: ")]),
)


def at_once(raw: bytes) -> str:
    """What the reader of small texts makes of it."""
    try:
        return repr(json_text.read(raw))
    except PayloadError as fault:
        return fault.text


def in_slices(raw: bytes, block_bytes: int) -> str:
    """What is made of it in slices."""
    try:
        return repr(json_slices.read_slices(raw, Survey(raw, block_bytes=block_bytes).cuts))
    except PayloadError as fault:
        return fault.text


@given(TEXTS, st.integers(2, 40))
def test_a_text_reads_the_same_in_slices(raw: bytes, block_bytes: int) -> None:
    """Whatever the text and wherever it is cut, its value is the one that it has as a whole."""
    assert in_slices(raw, block_bytes) == at_once(raw)


@given(TEXTS, st.integers(2, 40), st.integers(0), st.sampled_from([b"", *(bytes([sign]) for sign in b'[]{},:"\\1 ')]))
def test_what_is_no_json_is_no_json_in_slices(raw: bytes, block_bytes: int, place: int, sign: bytes) -> None:
    """A text with a sign too many or too few is refused, or read, as it is as a whole."""
    place %= len(raw)
    for broken in (raw[:place] + sign + raw[place:], raw[:place] + sign + raw[place + 1 :] + b" "):
        expected, found = at_once(broken), in_slices(broken, block_bytes)
        is_refused = expected.startswith(json_text.UNREADABLE)  # of two faults another one may be found first
        assert found.startswith(json_text.UNREADABLE) if is_refused else found == expected


def test_members_with_the_name_of_an_earlier_one_are_read_in_slices() -> None:
    """The last of equal names wins, also where the first was cut in the middle."""
    raw = b'{"a":[1,2,3,4],"b":2,"a":[5,6,7,8],"c":{"d":1,"e":2,"d":{"f":[9,10,11]}}}'
    for block_bytes in range(2, 30):
        assert in_slices(raw, block_bytes) == at_once(raw)


def test_deep_nesting_is_refused_before_it_is_read() -> None:
    """A text nested too deeply, or with most of its values below all cuts, is the sender's fault."""
    with pytest.raises(PayloadError, match="nested too deeply"):
        Survey(b"[" * 5000)
    with pytest.raises(PayloadError, match="more than 32 levels deep"):
        Survey(b"[" * 40 + b"1," * 2_000_000)


def resident_bytes(value: object) -> int:
    """The memory that a JSON value takes, each object once."""
    seen: set[int] = set()
    size = 0
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        size += sys.getsizeof(found)
        if isinstance(found, list):
            waiting.extend(found)
        elif isinstance(found, dict):
            waiting.extend([*found.keys(), *found.values()])
    return size


@pytest.mark.parametrize(
    "unit",
    [
        b"[]",
        b"{}",
        b"[[]]",
        b"[{}]",
        b"1",
        b"999",
        b"-1234",
        b"0.5",
        b'""',
        b'"ab"',
        b'"\xe5\x8c\x97\xe4\xba\xac"',
        b'"\xf0\x9f\x98\x80xyz"',
        b'{"a":1}',
        b'{"a":1,"b":2.5,"c":"three"}',
        b'{"a":{"b":{"c":[]}}}',
        b'[1,"a",null]',
        b"true",
    ],
)
def test_the_estimate_is_never_much_too_low(unit: bytes) -> None:
    """The memory that values will take is at least nine tenths of what they do take, and at most three times."""
    raw = b"[" + b",".join([unit] * 20_000) + b"]"
    took = resident_bytes(json_text.read(raw))
    assert 0.9 * took <= Survey(raw).values_bytes <= 3 * took + 1000


def test_a_number_without_end_is_refused() -> None:
    """A number of more digits than anybody means takes long to convert."""
    with pytest.raises(PayloadError, match="a number of more than 100000 digits"):
        json_slices.read(b"[0." + b"1" * json_slices.LARGE_BYTES + b"]")


def test_keys_that_are_all_different_are_counted() -> None:
    """An object's many names cost memory, a repeated one does not."""
    one = b"{" + b",".join(b'"key%d":1' % number for number in range(20_000)) + b"}"
    assert Survey(one).values_bytes >= 0.9 * resident_bytes(json_text.read(one))
    many = b"[" + b",".join([b'{"a long name that comes again":1}'] * 20_000) + b"]"
    assert Survey(many).values_bytes < 2 * resident_bytes(json_text.read(many))


def test_a_text_of_too_many_values_is_refused_by_the_name_of_the_setting() -> None:
    """What would take more memory than is allowed is refused before it is read; text of the same size is not."""
    account = ValuesAccount(BodiesMemory(64 << 20))
    size = json_slices.LARGE_BYTES
    for unit in (b"[],", b"0,", b"null,", b'"",'):
        with pytest.raises(UploadTooLarge, match="setting bodies_limit_bytes"):
            json_slices.read(b"[" + unit * size + b"0]", account=account)
    assert json_slices.read(b'["' + b"[]," * size + b'"]', account=account) == ["[]," * size]
    assert len(json_slices.read('["😀'.encode() + b"a" * 9 * size + b'"]', account=account)[0]) == 9 * size + 1
    assert len(json_slices.read(b"[" + b"[]," * size + b"0]")) == size + 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-be", "gbk"])
def test_large_texts_in_other_encodings_are_read(encoding: str) -> None:
    """A large text is read in every encoding that a small one is read in."""
    rows = [{"name": "北京", "score": 0.5}] * (json_slices.LARGE_BYTES // 20)
    raw = json.dumps(rows, ensure_ascii=False).encode(encoding)
    assert json_slices.read(raw, f"application/json; charset={encoding}") == rows


def test_a_fault_far_inside_says_where_it_is() -> None:
    """The line and column of a fault are those of the whole text."""
    lines = b",\n".join([b'{"a": [1, 2, "\xc3\xa9"]}'] * (json_slices.LARGE_BYTES // 10))
    raw = b"[" + lines + b',\n{"a": tru}]'
    with pytest.raises(PayloadError) as sliced:
        json_slices.read(raw)
    with pytest.raises(PayloadError) as whole:
        json_text.read(raw)
    assert sliced.value.text == whole.value.text


def test_not_a_number_is_read_in_slices() -> None:
    """What only the standard library reads is read in large texts too."""
    raw = b"[" + b"NaN,1e999,12345678901234567890123," * (json_slices.LARGE_BYTES // 20) + b"0]"
    first, second, third, *_ = json_slices.read(raw)
    assert (math.isnan(first), second, third) == (True, math.inf, 12345678901234567890123)
