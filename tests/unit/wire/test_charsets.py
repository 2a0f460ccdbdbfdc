"""Which charsets a caller may name, and what text is under a label that is wrong."""

import contextlib
import encodings
import pkgutil

import pytest

from infergraph.errors import PayloadError
from infergraph.wire import charsets


@pytest.mark.parametrize(
    "label",
    [
        "punycode",
        "undefined",
        "idna",
        "rot13",
        "zlib_codec",
        "utf-7",
        "unicode_escape",
        "mbcs",
        "klingon",
        "\0",
        "x" * 9999,
    ],
)
def test_what_is_no_charset_of_text_is_refused_by_name(label: str) -> None:
    """Codecs that are no text encodings, and words that are none at all, are refused in words that name them."""
    with pytest.raises(PayloadError, match="the part: '") as caught:
        charsets.codec_of(label, "the part")
    assert len(caught.value.text) < 200


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("GBK", "gbk"),
        ("'GB_2312'", "gb2312"),
        ("Windows-1252", "cp1252"),
        ("ISO-8859-1", "iso8859-1"),
        ("latin1", "iso8859-1"),
        ("shift-jis", "shift_jis"),
        ("UTF_16LE", "utf-16-le"),
        ("windows-936", "gbk"),
    ],
)
def test_charsets_are_found_by_all_their_labels(label: str, name: str) -> None:
    """Labels are read in any case, with hyphens or underscores, in quotes."""
    codec = charsets.codec_of(label, "the part")
    assert codec is not None
    assert codec.name == name


@pytest.mark.parametrize("label", ["", "utf8", "UTF-8", '"utf-8"', "binary", "unknown-8bit", "utf8mb4"])
def test_labels_that_say_nothing_leave_utf_8(label: str) -> None:
    """No label, UTF-8, and words for bytes of no text need no codec."""
    assert charsets.codec_of(label, "the part") is None


def _listed() -> list[str]:
    """Python's own codecs that a caller may name."""
    found = []
    for module in pkgutil.iter_modules(encodings.__path__):
        with contextlib.suppress(PayloadError):
            charsets.codec_of(module.name, "the part")
            found.append(module.name)
    return found


@pytest.mark.parametrize("label", _listed())
def test_every_listed_charset_reads_any_bytes_or_refuses_them(label: str) -> None:
    """Each charset takes 64 kB of any one byte, or refuses them as a fault of the caller's."""
    for byte in range(0, 256, 5):
        with contextlib.suppress(PayloadError):
            charsets.text_of(bytes([byte]) * 65536, label, "the part")


@pytest.mark.parametrize(
    ("data", "label", "text"),
    [
        ("绍兴".encode(), "ISO-8859-1", "绍兴"),
        ("Zürich".encode(), "us-ascii", "Zürich"),
        ("Zürich".encode("latin-1"), "ISO-8859-1", "Zürich"),
        ("“Zürich”".encode("cp1252"), "windows-1252", "“Zürich”"),
        ("绍兴".encode("gbk"), "GBK", "绍兴"),
        ("绍兴".encode("utf-16"), "utf-16", "绍兴"),
        ("绍兴".encode(), "binary", "绍兴"),
    ],
)
def test_a_default_label_does_not_turn_utf_8_into_other_text(data: bytes, label: str, text: str) -> None:
    """What client libraries declare for any text is believed only of bytes that are not UTF-8."""
    assert charsets.text_of(data, label, "the part") == text


@pytest.mark.parametrize(("label", "text"), [("", "not valid UTF-8 at byte 2"), ("gbk", "not valid gbk at byte 2")])
def test_bytes_that_are_not_in_the_charset_are_named(label: str, text: str) -> None:
    """The fault names the charset and the place."""
    with pytest.raises(PayloadError, match=text):
        charsets.text_of(b"ab\xff\xff", label, "the part")
