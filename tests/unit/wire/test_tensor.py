"""TensorFlow's tensors without TensorFlow: every type, both places for values, repetition, and what is refused."""

import numpy as np
import pytest

from infergraph.errors import PayloadError
from infergraph.wire import prediction, tensor

NUMBERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]


def of(dtype: str, shape: tuple[int, ...], **fields) -> np.ndarray:
    """The array of a TensorProto in JSON."""
    dims = [{"size": str(size)} for size in shape]
    return tensor.decode_json({"dtype": dtype, "tensorShape": {"dim": dims}, **fields})


@pytest.mark.parametrize("dtype", [*NUMBERS, ">f4", ">i8"])
@pytest.mark.parametrize("shape", [(2, 3), (1,), (), (1, 1), (0,), (2, 0)])
def test_numbers_come_back_as_they_went(dtype, shape):
    """Every number type and shape survives both spellings, with its type, and can be written to."""
    count = int(np.prod(shape))
    values = (np.arange(count) + 3).astype(dtype).reshape(shape)
    for back in (tensor.decode(tensor.encode(values)), tensor.decode_json(tensor.encode_json(values))):
        assert back.dtype == np.dtype(dtype).newbyteorder("=")
        assert back.shape == shape
        assert np.array_equal(back, values)
        assert back.flags.writeable


def test_extremes_come_back():
    """64-bit integers, infinities and half precision keep their exact values, also alone."""
    for values in (
        np.array([2**63 - 1, -(2**63)]),
        np.array([2**64 - 1], np.uint64),
        np.array([-(2**63)]),
        np.array([np.inf, -np.inf, 5e-324]),
        np.array([0.1], np.float16),
        np.array([-1], np.int8),
    ):
        assert np.array_equal(tensor.decode_json(tensor.encode_json(values)), values)


def test_answers_have_tensorflows_spelling():
    """Several elements are written as bytes, a single one in its typed list, sizes as text, names in camel case."""
    assert tensor.encode_json(np.array([[1, 2]], np.int32)) == {
        "dtype": "DT_INT32",
        "tensorContent": "AQAAAAIAAAA=",
        "tensorShape": {"dim": [{"size": "1"}, {"size": "2"}]},
    }
    assert tensor.encode_json(np.array([[5]])) == {
        "dtype": "DT_INT64",
        "int64Val": ["5"],
        "tensorShape": {"dim": [{"size": "1"}, {"size": "1"}]},
    }
    assert tensor.encode_json(np.array([0.5], np.longdouble))["dtype"] == "DT_DOUBLE"


@pytest.mark.parametrize(
    ("dtype", "field", "value"),
    [
        ("DT_FLOAT", "floatVal", 7.5),
        ("DT_DOUBLE", "doubleVal", 7.5),
        ("DT_INT32", "intVal", 7),
        ("DT_INT16", "intVal", -7),
        ("DT_INT8", "intVal", -7),
        ("DT_UINT8", "intVal", 200),
        ("DT_UINT16", "intVal", 60000),
        ("DT_QUINT8", "intVal", 200),
        ("DT_INT64", "int64Val", "7"),
        ("DT_UINT32", "uint32Val", 4000000000),
        ("DT_UINT64", "uint64Val", "18446744073709551615"),
        ("DT_BOOL", "boolVal", True),
    ],
)
def test_one_value_stands_for_all(dtype, field, value):
    """A typed list shorter than the shape repeats its last value, for each type."""
    assert of(dtype, (3,), **{field: [value]}).tolist() == [float(value) if "." in str(value) else int(value)] * 3
    assert of(dtype, (1, 1), **{field: [value]}).shape == (1, 1)


def test_the_last_value_stands_for_the_missing_ones():
    """With several values it is the last that repeats."""
    assert of("DT_FLOAT", (2, 2), floatVal=[1, 2]).tolist() == [[1.0, 2.0], [2.0, 2.0]]
    assert of("DT_STRING", (3,), stringVal=["YQ==", "Yg=="]).tolist() == [b"a", b"b", b"b"]


def test_the_narrow_floats_are_read():
    """Half precision and bfloat16 are bits in a list of integers, or bytes."""
    assert of("DT_HALF", (2,), halfVal=[15360, 16384]).tolist() == [1.0, 2.0]
    assert of("DT_BFLOAT16", (2,), halfVal=[0x3F80, 0x4000]).tolist() == [1.0, 2.0]
    assert of("DT_BFLOAT16", (1,), tensorContent="gD8=").tolist() == [1.0]


def test_complex_numbers_are_read():
    """Complex numbers lie in pairs of a list, or in bytes."""
    assert of("DT_COMPLEX64", (1,), scomplexVal=[1, 2]).tolist() == [1 + 2j]
    assert of("DT_COMPLEX128", (2,), dcomplexVal=[1, 2]).tolist() == [1 + 2j, 1 + 2j]
    content = np.array([1 + 2j], "<c8").tobytes()
    proto = prediction.TensorProto(dtype=8, tensor_shape={"dim": [{"size": 1}]}, tensor_content=content)
    assert tensor.decode(proto).tolist() == [1 + 2j]


def test_text_is_bytes_and_goes_back():
    """DT_STRING gives an object array of bytes, which is written as DT_STRING again."""
    values = of("DT_STRING", (2,), stringVal=["YQ==", "/w=="])
    assert (values.dtype, values.tolist()) == (object, [b"a", b"\xff"])
    assert tensor.is_text(values)
    assert tensor.encode_json(values)["stringVal"] == ["YQ==", "/w=="]
    assert not tensor.is_text(np.array([b"a", 1], dtype=object))


def test_proto_names_are_read_too():
    """A TensorProto in JSON may use snake-case names."""
    document = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": 2}]}, "float_val": [1, 2]}
    assert tensor.decode_json(document).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"foo": 1}, "cannot be read: .*foo"),
        ({"dtype": "DT_NONE"}, "cannot be read"),
        (None, "cannot be read"),
        ([], "cannot be read"),
        ("x", "cannot be read"),
        ({}, "has the dtype DT_INVALID"),
        ({"dtype": "DT_RESOURCE"}, "has the dtype DT_RESOURCE"),
        ({"dtype": 9999}, "has the dtype 9999"),
        ({"dtype": "DT_FLOAT", "tensorShape": {"unknownRank": True}}, "no known shape"),
        ({"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "-1"}]}}, "negative size"),
        ({"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "1"}] * 40}, "floatVal": [1]}, "axes"),
        ({"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "2"}]}}, r"0 values, .* \[2\]"),
        ({"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "1"}]}, "floatVal": [1, 2]}, r"2 values, .* \[1\]"),
        (
            {"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "2"}]}, "tensorContent": "AAAA"},
            "3 bytes, .* needs 8",
        ),
        ({"dtype": "DT_UINT8", "tensorShape": {"dim": [{"size": "1"}]}, "intVal": [300]}, "do not fit its dtype"),
        ({"dtype": "DT_COMPLEX64", "tensorShape": {"dim": [{"size": "1"}]}, "scomplexVal": [1]}, "half a complex"),
        ({"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "9" * 12}]}, "floatVal": [1]}, "repeats a value"),
        (
            {"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "0"}, {"size": "99999999"}]}},
            "no values but the shape",
        ),
    ],
)
def test_what_is_no_tensor_is_refused(document, fault):
    """A tensor with an unknown field or type, or values that do not fit its shape, is a PayloadError (Q31)."""
    with pytest.raises(PayloadError, match=fault):
        tensor.decode_json(document)
