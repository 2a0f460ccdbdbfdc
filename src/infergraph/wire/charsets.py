"""Supported charsets: an allow-list of text encodings, by the labels that clients send.

It excludes Python codecs that are not text encodings (`rot13`, `zlib_codec`), that always raise (`undefined`), or that
take quadratic time (`punycode`, `idna`).

Source: the names of the WHATWG Encoding Standard, and Python's list of standard encodings.
"""

from __future__ import annotations

import codecs
from encodings import aliases, normalize_encoding

from infergraph.errors import PayloadError
from infergraph.wire.multipart import parameters_of

_WORDS = (
    "ascii utf-8 utf-8-sig utf-16 utf-16-le utf-16-be utf-32 utf-32-le utf-32-be "
    "iso8859-1 iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8 iso8859-9 iso8859-10 iso8859-11 "
    "iso8859-13 iso8859-14 iso8859-15 iso8859-16 tis-620 koi8-r koi8-t koi8-u kz1048 ptcp154 "
    "cp437 cp720 cp737 cp775 cp850 cp852 cp855 cp856 cp857 cp858 cp860 cp861 cp862 cp863 cp864 cp865 cp866 cp869 cp874 "
    "cp1006 cp1125 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 "
    "mac-cyrillic mac-greek mac-iceland mac-latin2 mac-roman mac-turkish "
    "gb2312 gbk gb18030 hz big5 big5hkscs cp950 euc_jp euc_jis_2004 euc_jisx0213 cp932 shift_jis shift_jis_2004 "
    "shift_jisx0213 iso2022_jp iso2022_jp_1 iso2022_jp_2 iso2022_jp_2004 iso2022_jp_3 iso2022_jp_ext iso2022_kr "
    "euc_kr cp949 johab"
)
_NAMES = frozenset(_WORDS.split())
_NO_CHARSET = frozenset({"", "binary", "8bit", "unknown", "unknown-8bit", "x-unknown", "none", "null"})
_DEFAULTS = frozenset({"ascii", "iso8859-1", "cp1252"})
"""Charsets that client libraries declare by default."""
_LABEL_LENGTH = 40
_UTF8 = frozenset({"utf-8", "utf-8-sig"})
_MORE_LABELS = {
    "latin_1": "iso8859-1",
    "utf8mb4": "utf-8",
    "gb-18030": "gb18030",
    "gb_2312": "gb2312",
    "windows-936": "gbk",
    "x-gbk": "gbk",
    "cn-big5": "big5",
    "x-sjis": "shift_jis",
    "x-euc-jp": "euc_jp",
    "windows-949": "cp949",
}


def _key(label: str) -> str:
    return normalize_encoding(label).lower()


def _by_label() -> dict[str, str]:
    """The name of each charset by its labels.

    Python's own look-up is not called with a client's label: it caches unknown ones without limit.
    """
    names = {_key(name): name for name in _NAMES} | {_key(label): name for label, name in _MORE_LABELS.items()}
    return {_key(alias): names[module] for alias, module in aliases.aliases.items() if module in names} | names


_NAME_BY_LABEL = _by_label()


def label_of(content_type: str) -> str:
    """The charset that a Content-Type header names; empty for none."""
    if "charset" not in content_type.lower():
        return ""
    return parameters_of(content_type.encode("utf-8", "replace")).get(b"charset", b"").decode("utf-8", "replace")


def codec_of(label: str, field: str) -> codecs.CodecInfo | None:
    """The codec of a declared charset; None for an empty label and for UTF-8.

    Args:
        label: as sent, possibly in quotes.
        field: what has this charset, for the error message.
    Raises: PayloadError if it is not supported; the text names it.
    """
    word = label.strip("\"' \t").lower()
    if word in _NO_CHARSET:
        return None
    name = _NAME_BY_LABEL.get(_key(word)) if len(word) <= _LABEL_LENGTH else None
    if name is None:
        raise PayloadError(f"{field}: {label!r:.80} is not a supported charset; send UTF-8")
    return None if name in _UTF8 else codecs.lookup(name)


def declared(content_type: str, field: str) -> codecs.CodecInfo | None:
    """The codec of the charset that a Content-Type header names; see `codec_of`."""
    return codec_of(label_of(content_type), field)


def is_default(codec: codecs.CodecInfo) -> bool:
    """Whether clients declare it by default: then valid UTF-8 is read as UTF-8."""
    return codec.name in _DEFAULTS


def text_of(data: bytes, label: str, field: str) -> str:
    """Decode text whose declared charset is `label`; as UTF-8 if it is valid and the label is a default one.

    Raises: PayloadError like `codec_of`, or with the position of the first byte that is not in the charset.
    """
    codec = codec_of(label, field)
    try:
        if codec is None or is_default(codec):
            try:
                return data.decode()
            except UnicodeDecodeError:
                if codec is None:
                    raise
        return codec.decode(data)[0]
    except UnicodeDecodeError as error:
        name = "UTF-8" if codec is None else codec.name
        raise PayloadError(f"{field}: not valid {name} at byte {error.start}") from error
