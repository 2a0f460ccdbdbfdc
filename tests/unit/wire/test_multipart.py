"""Multipart forms as the clients of all languages write them, in blocks of any size."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.errors import PayloadError
from infergraph.wire.multipart import MultipartReader, Part, parameters_of

HEAD = b'Content-Disposition: form-data; name="a"'


def read(raw: bytes, boundary: str = "X", block_bytes: int = 1 << 20) -> list[tuple[Part, bytes]]:
    """The parts of a body that comes in blocks, each with its data."""
    reader = MultipartReader(f"multipart/form-data; boundary={boundary}")
    blocks = (raw[at : at + block_bytes] for at in range(0, len(raw), block_bytes))
    found: list[tuple[Part, bytes]] = []
    for event in chain(chain.from_iterable(map(reader.feed, blocks)), reader.finish()):
        if isinstance(event, Part):
            found.append((event, b""))
        else:
            found[-1] = (found[-1][0], found[-1][1] + event)
    return found


def values(raw: bytes, boundary: str = "X", block_bytes: int = 1 << 20) -> dict[str, bytes]:
    """The data of each part by its name."""
    return {part.name: data for part, data in read(raw, boundary, block_bytes)}


@pytest.mark.parametrize(
    ("raw", "boundary"),
    [
        (b"--X\r\n" + HEAD + b"\r\n\r\nhello\r\n--X--\r\n", "X"),
        (b"--X\r\n" + HEAD + b"\r\n\r\nhello\r\n--X--", "X"),
        (b"--X\r\n" + HEAD + b"\r\n\r\nhello\r\n--X--", '"X"'),
        (b"--X\r\n" + HEAD + b"\r\n\r\nhello\r\n--X--", '"X'),
        (b"--a b?c\r\n" + HEAD + b"\r\n\r\nhello\r\n--a b?c--", '"a b?c"; charset=utf-8'),
        (b"--X\n" + HEAD + b"\n\nhello\n--X--\n", "X"),
        (b"A preamble.\r\n--X-is-no-boundary\r\n--X\r\n" + HEAD + b"\r\n\r\nhello\r\n--X--\r\n", "X"),
        (b"\r\n\r\n--X\r\n" + HEAD + b"\r\n\r\nhello\r\n--X--\r\n", "X"),
        (b"--X \t\r\n" + HEAD + b"\r\n\r\nhello\r\n--X-- \r\n", "X"),
        (b"--X\r\n" + HEAD + b"\r\n\r\nhello\r\n--X--\r\nAn epilogue.\r\n--X\r\nmore", "X"),
        (b"--X\r\ncontent-disposition:form-data;name=a\r\n\r\nhello\r\n--X--", "X"),
        (b"--X\r\nContent-Disposition: form-data;\r\n  name=a\r\n\r\nhello\r\n--X--", "X"),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 2, 3, 7, 1 << 20])
def test_every_usual_form_is_read(raw: bytes, boundary: str, block_bytes: int) -> None:
    """Preamble, epilogue, padding, bare line feeds, quoted and folded headers are taken, however the blocks fall."""
    assert values(raw, boundary, block_bytes) == {"a": b"hello"}


@given(
    st.lists(st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--X", b"--X--", b"x", b" ", b"\0"])).map(b"".join)),
    st.sampled_from([b"\r\n", b"\n"]),
    st.integers(1, 40),
)
def test_data_come_back_whatever_they_look_like(parts: list[bytes], end: bytes, block_bytes: int) -> None:
    """Data that look like boundaries, which no sender would choose within data, are kept, in blocks of any size."""
    sent = [data for data in parts if end + b"--X" not in end + data and (end != b"\n" or b"\r" not in data[-1:])]
    head = b"Content-Disposition: form-data; name=p%d"
    raw = b"".join(b"--X" + end + head % at + end * 2 + data + end for at, data in enumerate(sent)) + b"--X--"
    assert [data for _, data in read(raw, "X", block_bytes)] == sent


def test_data_without_a_line_of_their_own_are_empty() -> None:
    """The empty line after a part's head may be the one before the next boundary."""
    assert values(b"--X\r\n" + HEAD + b"\r\n\r\n--X\r\n" + HEAD.replace(b'"a"', b"b") + b"\r\n\r\n1\r\n--X--") == {
        "a": b"",
        "b": b"1",
    }


@pytest.mark.parametrize(
    ("disposition", "name", "is_file"),
    [
        (b'form-data; name="a"', "a", False),
        (b"form-data; name=a; filename=f.txt", "a", True),
        (b"form-data; name=\"a\"; filename*=UTF-8''%E5%8C%97.jsonl", "a", True),
        (b"form-data; filename*0*=UTF-8''x; filename*1=y; name=a", "a", True),
        (b'form-data; name="a;b"; filename="C:\\\\dir\\\\f; name=z.txt"', "a;b", True),
        (b'form-data; name="q\\"q"', 'q"q', False),
        ('form-data; name="北京"'.encode(), "北京", False),
        (b"form-data; name*=utf-8''%E5%8C%97", "北", False),
    ],
)
def test_names_and_file_names_are_read(disposition: bytes, name: str, is_file: bool) -> None:
    """Names are quoted or not, in UTF-8 or extended; a part with a file name of any spelling is a file."""
    (part, _), *_ = read(b"--X\r\nContent-Disposition: " + disposition + b"\r\n\r\n1\r\n--X--")
    assert (part.name, part.filename is not None) == (name, is_file)


@pytest.mark.parametrize(
    ("encoding", "sent", "data"),
    [
        (b"binary", b"a=b", b"a=b"),
        (b"Base64", b"aGVs\r\nbG8=", b"hello"),
        (b"quoted-printable", b"caf=C3=A9=\r\n!", b"caf\xc3\xa9!"),
    ],
)
def test_transfer_encodings_are_undone(encoding: bytes, sent: bytes, data: bytes) -> None:
    """What mail libraries encode comes out as it went in."""
    ((part, found),) = read(
        b"--X\r\n" + HEAD + b"\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + sent + b"\r\n--X--"
    )
    assert part.decoded(found) == data


@pytest.mark.parametrize(
    ("raw", "boundary", "text"),
    [
        (b"--Y\r\n", "X", "boundary 'X' is not in it"),
        (b"--X\r\n" + HEAD + b"\r\n\r\n1", "X", "before its last boundary"),
        (b"--X\r\nX: " + b"y" * 20_000, "X", "head is over"),
        (b"--X\r\nX: y\r\n\r\n1\r\n--X--", "X", "has no name"),
        ((b"--X\r\n" + HEAD + b"\r\n\r\n1\r\n") * 1001 + b"--X--", "X", "more than 1000 parts"),
        (b"", "", "names no boundary"),
        (b"", "y" * 5000, "names no boundary"),
    ],
)
def test_what_is_no_form_is_refused(raw: bytes, boundary: str, text: str) -> None:
    """A body that is cut off, nameless, or of another boundary is a PayloadError that says which."""
    with pytest.raises(PayloadError, match=text):
        read(raw, boundary)


def test_parameters_of_a_header_are_linear_to_read() -> None:
    """A header of many half-quoted parameters is read in one pass."""
    assert parameters_of(b";a=" + b'"' * 8000)[b"a"].strip(b'"') == b""
