"""Requests that no client should send, from a seed: REST bodies and headers, forms, arrays, messages of protobuf."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from infergraph.wire import prediction, protobuf_values
from infergraph.wire.fields import delimited

CHARSETS = [
    "utf-8",
    "latin-1",
    "gbk",
    "gb18030",
    "big5",
    "shift_jis",
    "utf-16",
    "utf-32-be",
    "us-ascii",
    "punycode",
    "undefined",
    "idna",
    "rot13",
    "zlib_codec",
    "base64",
    "utf-7",
    "unicode_escape",
    "mbcs",
    "hex",
    "klingon",
    "binary",
    "none",
    "cp037",
    "\x00",
    "é",
    "utf-8;x",
]
TYPES = (
    "application/json",
    "text/plain",
    "",
    "application/x-www-form-urlencoded",
    "application/x-npy",
    "application/octet-stream",
    "multipart/form-data",
    "application/vnd.x+json",
)
PATHS = (
    "/predict",
    "/api/v1.0/predictions",
    "/transform-input",
    "/route",
    "/aggregate",
    "/send-feedback",
    "/predict?json=",
)
WORDS = (
    "data",
    "jsonData",
    "strData",
    "binData",
    "meta",
    "tensor",
    "ndarray",
    "tftensor",
    "shape",
    "values",
    "names",
    "status",
)
SCALARS: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    2**64,
    10**400,
    0.5,
    1e308,
    "",
    "a",
    "é😀",
    "\ud83d",
    "NaN",
    "AA==",
    "AAA",
)
SIGNS = b'[]{},:"\\0129.eE+-tfn \x00\xff\xed'


class Rest(NamedTuple):
    """A REST request."""

    path: str
    headers: dict[str, str]
    body: bytes


def any_json(rng: random.Random, depth: int) -> Any:
    """A value, often with the protocol's own words in it."""
    kind = rng.random()
    if depth <= 0 or kind < 0.4:
        return rng.choice(SCALARS)
    if kind < 0.7:
        return [any_json(rng, depth - 1) for _ in range(rng.randint(0, 4))]
    return {rng.choice(WORDS): any_json(rng, depth - 1) for _ in range(rng.randint(0, 4))}


def message(rng: random.Random) -> Any:
    """A message that is nearly right."""
    rows = [
        [rng.choice((0, 1, -2.5, 1e300, None, "x")) for _ in range(rng.randint(0, 3))] for _ in range(rng.randint(0, 3))
    ]
    shape = [rng.choice((-1, 0, 1, 2, 2**40, "2", 1.5, True)) for _ in range(rng.randint(0, 3))]
    tensor = {"shape": shape, "values": rng.choice((rows, rows and rows[0], 5, None))}
    payload = {
        "ndarray": rows,
        "tensor": tensor,
        "tftensor": {"dtype": rng.choice(("DT_FLOAT", "DT_STRING", 99, None)), "floatVal": rows and rows[0]},
    }
    name = rng.choice(tuple(payload))
    document: dict[str, Any] = {"data": {name: payload[name], "names": any_json(rng, 2)}}
    if rng.random() < 0.3:
        document = {rng.choice(("jsonData", "strData", "binData")): any_json(rng, 3)}
    if rng.random() < 0.4:
        document["meta"] = rng.choice(
            (
                any_json(rng, 3),
                {
                    "tags": any_json(rng, 2),
                    "routing": any_json(rng, 2),
                    "metrics": any_json(rng, 2),
                    "puid": any_json(rng, 1),
                },
            )
        )
    if rng.random() < 0.2:
        document["status"] = any_json(rng, 2)
    kind = rng.random()
    if kind < 0.1:
        return {"seldonMessages": [document, any_json(rng, 2)]}
    if kind < 0.2:
        return {"request": document, "response": document, "reward": any_json(rng, 0), "truth": any_json(rng, 2)}
    return document


def odd_text(rng: random.Random) -> bytes:
    """JSON that is deep, long or nearly JSON."""
    depth = rng.choice((10, 60, 200, 255, 299, 310, 500, 1000, 1100, 100_000))
    opened, closed = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"[{", b"}]")))
    inner = rng.choice((b"1", b"", b'"x"', b"null"))
    return rng.choice(
        (
            opened * depth + inner + closed * depth,
            b'{"jsonData":' + opened * depth + inner + closed * depth + b"}",
            b'{"data":{"ndarray":' + opened * depth + inner + closed * depth + b"}}",
            b'{"meta":{"tags":{"a":' + opened * depth + inner + closed * depth + b'}},"strData":"x"}',
            b'{"jsonData":' + b"9" * rng.choice((19, 20, 400, 4300, 4301, 9000)) + b"}",
            b'{"data":{"ndarray":[[' + b"9" * rng.choice((19, 20, 400, 4300, 4301, 9000)) + b"]]}}",
            b'{"data":{"tensor":{"shape":[1],"values":[-' + b"9" * rng.choice((19, 309, 5000)) + b"]}}}",
            b'{"jsonData":[NaN,Infinity,-Infinity,1e999,-1e999]}',
            b'{"data":{"ndarray":[[NaN,1e999]]}}',
            b'{"strData":"\\ud800"}',
            b'{"binData":"' + base64.b64encode(rng.randbytes(9)).rstrip(b"=")[: rng.randint(0, 12)] + b'"}',
            b'\xef\xbb\xbf{"strData":"x"}',
            b"",
        )
    )


def mutated(rng: random.Random, raw: bytes) -> bytes:
    """`raw` with some signs more, fewer or others."""
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        place = rng.randint(0, len(raw))
        raw = rng.choice(
            (
                raw[:place] + raw[place + 1 :],
                raw[:place] + bytes([rng.choice(SIGNS)]) + raw[place:],
                raw[:place],
                raw[:place] + raw[rng.randint(0, len(raw)) :],
            )
        )
    return raw


def form(rng: random.Random, text: bytes) -> bytes:
    """A multipart body with the boundary `X`, in the manner of some client or of none."""
    end = rng.choice((b"\r\n", b"\r\n", b"\n", b"\r"))
    parts = []
    for _ in range(rng.randint(0, 3)):
        name = rng.choice((*WORDS, "json", "", "é")).encode()
        head = b'Content-Disposition: form-data; name="' + name + b'"'
        head += rng.choice((b"", b'; filename="f"', b"; filename*=UTF-8''%E5", b'; name="b'))
        if rng.random() < 0.5:
            head += end + b"Content-Type: text/plain; charset=" + rng.choice(CHARSETS).encode()
        if rng.random() < 0.2:
            head += end + b"Content-Transfer-Encoding: " + rng.choice((b"base64", b"quoted-printable", b"binary", b"x"))
        data = rng.choice((text, b"hello", b"\xff\xfe", b"5", b"aGVsbG8"))
        parts.append(b"--X" + rng.choice((b"", b" \t", b"x")) + end + head + end + end + data + end)
    return (
        rng.choice((b"", b"preamble" + end))
        + b"".join(parts)
        + rng.choice((b"--X--", b"--X--" + end + b"epilogue", b"--X", b""))
    )


def npy(rng: random.Random) -> bytes:
    """An array's file, whose header may lie."""
    file = io.BytesIO()
    np.save(
        file,
        rng.choice((np.arange(6).reshape(2, 3), np.array(["a"]), np.array(1.5), np.zeros((0, 4)), np.array([True]))),
    )
    raw = file.getvalue()
    changes = (
        (b"(2, 3)", b"(2, 9)"),
        (b"'<i8'", b"'|O' "),
        (b"(2, 3)", b"(-2,3)"),
        (b"descr", b"shape"),
        (b"\x01\x00", b"\x03\x00"),
    )
    return raw.replace(*rng.choice(changes)) if rng.random() < 0.6 else mutated(rng, raw)


def rest_request(rng: random.Random) -> Rest:
    """One REST request."""
    text = (
        odd_text(rng)
        if rng.random() < 0.3
        else json.dumps(message(rng), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    )
    text = mutated(rng, text)
    kind = rng.choice(TYPES)
    body = text
    if kind.startswith("multipart"):
        body = form(rng, text)
        kind += rng.choice(
            ("; boundary=X", '; boundary="X"', "; boundary=", "", "; boundary=Y", "; boundary=X; charset=utf-8")
        )
    elif kind == "application/x-npy":
        body = npy(rng)
    elif kind.startswith("application/x-www"):
        body = rng.choice((b"json=" + text, text, b"a=1&json=%7B%22strData%22%3A%22x%22%7D", b"&" * 2000))
    if rng.random() < 0.3:
        kind += f"; charset={rng.choice(CHARSETS)}"
    headers = {"Content-Type": kind.encode("utf-8").decode("latin-1").replace("\x00", "")}
    if rng.random() < 0.1:
        headers["Content-Encoding"] = rng.choice(("gzip", "deflate", "identity", "x-gzip", "br", ""))
        body = rng.choice((body, gzip.compress(body), gzip.compress(body)[:-3]))
    if rng.random() < 0.1:
        headers["Accept"] = rng.choice(("application/x-npy", "text/html", "*/*", ""))
    return Rest(rng.choice(PATHS), headers, body)


def grpc_payload(rng: random.Random) -> bytes:
    """One message for any method of gRPC."""
    kind = rng.random()
    if kind < 0.2:
        return rng.randbytes(rng.randint(0, 60))
    if kind < 0.4:
        value = b"\x1a\x01x"
        for _ in range(rng.choice((5, 30, 45, 49, 60, 400))):
            value = rng.choice(
                (
                    delimited(b"\x32", delimited(b"\x0a", value)),
                    delimited(b"\x2a", delimited(b"\x0a", b"\x0a\x01a" + delimited(b"\x12", value))),
                )
            )
        return rng.choice(
            (delimited(b"\x32", value), delimited(b"\x1a", delimited(b"\x1a", delimited(b"\x0a", value))))
        )
    if kind < 0.6:
        numbers = [rng.choice((0.0, 1.5, float("nan"), float("inf"))) for _ in range(rng.randint(0, 4))]
        shape = [rng.choice((0, 1, 2, -1, 2**31 - 1)) for _ in range(rng.randint(0, 3))]
        raw = prediction.SeldonMessage(
            data=prediction.DefaultData(names=["a"], tensor=prediction.Tensor(shape=shape, values=numbers))
        ).SerializeToString()
        return mutated(rng, raw)
    plain = json.loads(json.dumps(any_json(rng, 4)), parse_int=float)
    try:
        value = protobuf_values.encode_value(plain, "x")
    except Exception:
        value = struct.pack("<Bd", 0x11, 1.0)
    raw = rng.choice((delimited(b"\x32", value), delimited(b"\x1a", delimited(b"\x1a", delimited(b"\x0a", value)))))
    meta = prediction.Meta(
        puid=rng.choice(("", "a", "é")), routing={"a": rng.choice((0, -1, 2**31 - 1))}
    ).SerializeToString()
    raw += delimited(b"\x12", meta) + rng.choice((b"", b"\xaa\x06\x01x"))
    if rng.random() < 0.3:
        raw = rng.choice(
            (
                delimited(b"\x0a", raw) * 2,
                delimited(b"\x0a", raw) + delimited(b"\x12", raw) + struct.pack("<Bf", 0x1D, 1.0),
            )
        )
    return mutated(rng, raw)


def rest_requests(seed: int, count: int) -> Iterator[Rest]:
    """So many REST requests, the same for the same seed."""
    rng = random.Random(seed)
    for _ in range(count):
        yield rest_request(rng)


def grpc_payloads(seed: int, count: int) -> Iterator[bytes]:
    """So many messages, likewise."""
    rng = random.Random(seed)
    for _ in range(count):
        yield grpc_payload(rng)
