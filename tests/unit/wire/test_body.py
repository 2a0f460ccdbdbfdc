"""Which JSON value a request carries: every rule of the protocol's body resolution, and every way to get it wrong."""

import json

import pytest

from infergraph.errors import PayloadError, UnsupportedBody
from infergraph.wire import body

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def multipart(*parts: tuple[str, bytes]) -> tuple[bytes, str]:
    """A multipart body of (disposition parameters, data), and its content type."""
    lines = [
        b"--X\r\nContent-Disposition: form-data; " + parameters.encode() + b"\r\n\r\n" + data + b"\r\n"
        for parameters, data in parts
    ]
    return b"".join(lines) + b"--X--\r\n", "multipart/form-data; boundary=X"


@pytest.mark.parametrize(
    "content_type",
    [JSON, "application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json", "", "text/plain", FORM],
)
def test_a_body_that_is_json_is_read_whatever_its_type_says(content_type):
    """A JSON object is accepted with any content type, also curl's default (Q2)."""
    assert body.read(b' {"a":1}', content_type) == {"a": 1}


@pytest.mark.parametrize("raw", [b"5", b'"x"', b"true", b"[1]"])
def test_any_json_value_is_read_with_a_json_type(raw):
    """With a JSON content type every value but null is a body."""
    assert body.read(raw, JSON) == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'\xef\xbb\xbf{"a":"\xc3\xa9"}', {"a": "é"}),
        ('{"a":"é"}'.encode("utf-16"), {"a": "é"}),
        ('{"a":"é"}'.encode("utf-16-le"), {"a": "é"}),
        ('{"a":"é"}'.encode("utf-32-be"), {"a": "é"}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
        (b'{"a":-9223372036854775809}', {"a": -9223372036854775809}),
        (b'{"a":18446744073709551616}', {"a": 18446744073709551616}),
        (b'{"a":"\\ud800"}', {"a": "\ud800"}),
        (b'{"a":0.00012345678901234567}', {"a": 0.00012345678901234567}),
    ],
)
def test_unusual_json_is_read_without_loss(raw, value):
    """Byte order marks, other Unicode encodings, repeated keys, wide integers and lone surrogates are read."""
    assert body.read(raw, JSON) == value


def test_not_a_number_is_read():
    """NaN and Infinity literals are accepted, as clients of the protocol send them."""
    assert str(body.read(b"[NaN,Infinity,-Infinity]", JSON)) == "[nan, inf, -inf]"


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (b"", JSON),
        (b"", ""),
        (b"", "text/plain"),
        (b"", FORM),
        (b"null", JSON),
        (b"{bad", JSON),
        (b'{"a":1}x', JSON),
        (b'{"a":"\xff"}', JSON),
        (b"[" * 100_000, JSON),
        (b"[" * 100_000 + b"]" * 100_000, JSON),
        (b'{"a":' * 3000 + b"1" + b"}" * 3000, JSON),
        (b"1" * 5000, JSON),
    ],
)
def test_a_body_without_a_json_value_is_refused_in_known_words(raw, content_type):
    """What cannot be read is a PayloadError that begins with the text clients know (Q3), never another exception."""
    with pytest.raises(PayloadError, match=r"^Can't find JSON in data") as caught:
        body.read(raw, content_type)
    assert not isinstance(caught.value, UnsupportedBody)


def test_the_fault_says_where():
    """Invalid JSON is reported with line and column."""
    with pytest.raises(PayloadError, match=r"line 2 column 4"):
        body.read(b'{"a":\n1, 2}', JSON)


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "", "image/png", FORM])
def test_a_foreign_body_is_unsupported(content_type):
    """A body of another type that does not look like JSON is told apart, so that the edge can answer 415."""
    with pytest.raises(UnsupportedBody, match="Can't find JSON in data"):
        body.read(b"hello", content_type)


def test_form_field_is_read():
    """A form's json field is the body (rule 2)."""
    assert body.read(b"a=1&json=%7B%22a%22%3A%201%7D", FORM) == {"a": 1}


@pytest.mark.parametrize("text", [b'{"a":"%E4%B8%AD+%2B"}', '{"a":"中+%2B"}'.encode()])
def test_fields_hold_any_text(text):
    """Text that is not ASCII reaches us through a form or query field, percent-encoded or as it is."""
    assert body.read(b"x=%FF&json=" + text, FORM) == {"a": "中 +"}
    assert body.read(b"", "", b"json=" + text) == {"a": "中 +"}


@pytest.mark.parametrize("spaces", range(4))
def test_a_large_field_is_decoded_in_blocks(spaces):
    """Wherever a block ends, within an escape too, and with escapes that are none."""
    text = "中%zz+" * 60_000
    escaped = b'{"a":"' + b"+" * spaces + text.replace("+", "%2B").replace("中", "%E4%B8%AD").encode() + b'"}'
    assert body.read(b"b=2&json=" + escaped, FORM) == {"a": " " * spaces + text}


def test_a_form_of_very_many_fields_is_refused():
    """Each field costs more than its bytes."""
    with pytest.raises(PayloadError, match="the form cannot be read: it has more than 1000 fields"):
        body.read(b"a=1&" * 2000 + b"json={}", FORM)


def test_a_form_goes_before_the_query():
    """The json field of a form beats the one of the query; a form's body that is JSON does not."""
    assert body.read(b'json={"a":1}', FORM, b"json=[2]") == {"a": 1}
    assert body.read(b'{"json":1}', FORM, b"json=[2]") == [2]


def test_query_goes_before_the_body():
    """A query parameter json beats a JSON body; an empty one does not."""
    assert body.read(b'{"b":2}', JSON, b"json=%7B%22a%22:1%7D") == {"a": 1}
    assert body.read(b'{"b":2}', JSON, b"json=&x=1") == {"b": 2}
    assert body.read(b"", "", b"x=1&json=[1]") == [1]


@pytest.mark.parametrize(("raw", "query"), [(b"json={bad", b""), (b"", b"json={bad")])
def test_bad_json_in_a_field_is_the_callers_fault(raw, query):
    """Invalid JSON in a form or query field is a PayloadError like any other (Q3)."""
    with pytest.raises(PayloadError, match=r"Expecting property name enclosed in double quotes: line 1 column 2"):
        body.read(raw, FORM, query)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([('name="strData"', b"hello")], {"strData": "hello"}),
        ([('name="strData"; filename="f"', b"caf\xc3\xa9")], {"strData": "café"}),
        ([('name="binData"; filename="f"', b"\x00\x01\xffbin")], {"binData": "AAH/Ymlu"}),
        ([('name="binData"', b"aGVsbG8=")], {"binData": "aGVsbG8="}),
        ([('name="jsonData"', b'{"a":1}')], {"jsonData": {"a": 1}}),
        ([('name="jsonData"; filename="j.json"', b'{"a":1}')], {"jsonData": {"a": 1}}),
        (
            [('name="data"; filename="d"', b'{"ndarray":[[1,2]]}'), ('name="meta"', b'{"puid":"pp"}')],
            {"data": {"ndarray": [[1, 2]]}, "meta": {"puid": "pp"}},
        ),
        ([('name="foo"', b"5")], {"foo": 5}),
        ([('name="strData"', b"x" * 700_000)], {"strData": "x" * 700_000}),
    ],
)
def test_parts_become_members(parts, message):
    """Each part of a multipart body becomes the member it stands for, text or file, of any size (Q23)."""
    assert body.read(*multipart(*parts)) == message


def test_query_and_json_part_are_not_special_in_multipart():
    """A multipart body is resolved before any `json` field."""
    raw, content_type = multipart(('name="json"', b'{"a":1}'))
    assert body.read(raw, content_type, b"json=[1]") == {"json": {"a": 1}}


@pytest.mark.parametrize(
    ("raw", "content_type", "text"),
    [
        (b"--X\r\n", "multipart/form-data", "names no boundary"),
        (multipart(('name="a"', b"1"))[0][:-9], "multipart/form-data; boundary=X", "before its last boundary"),
        (b"hello", "multipart/form-data; boundary=X", "cannot be read"),
        (b"", "multipart/form-data; boundary=X", "cannot be read"),
        (*multipart(('filename="a"', b"1")), "has no name"),
        (*multipart(('name="strData"', b"\xff")), "not valid UTF-8 at byte 0"),
        (*multipart(('name="jsonData"', b"{bad")), "'jsonData': Can't find JSON in data"),
        (b"--X\r\n\r\n1\r\n--X--\r\n", "multipart/form-data; boundary=X", "has no name"),
        (b"x", "multipart/form-data; boundary=" + "y" * 5000, "cannot be read"),
        (*multipart(*[('name="a"', b"1")] * 1001), "more than 1000 parts"),
    ],
)
def test_broken_multipart_is_refused(raw, content_type, text):
    """A multipart body that is cut off, nameless or undecodable is a PayloadError that says which."""
    with pytest.raises(PayloadError, match=text):
        body.read(raw, content_type)


def test_a_csv_body_is_refused_with_the_way_to_send_it():
    """A CSV file is no message; the refusal names the format and the command that converts it."""
    with pytest.raises(UnsupportedBody, match=r"a body of text/csv is not a message.*infergraph call URL @FILE.csv"):
        body.read(b"a,b\n1,2\n", "text/csv")
