"""The pod's annotations and the limits that they set."""

from pathlib import Path

import pytest

from infergraph.protocol.annotations import read_annotations
from infergraph.serving import pod_limits
from infergraph.settings import Settings

DEFAULT = Settings().message_limit_bytes


def limits(tmp_path: Path, text: str, **settings: object) -> tuple[float, int]:
    file = tmp_path / "annotations"
    file.write_text(text)
    return tuple(pod_limits.limits(Settings(annotations_file=str(file), **settings)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('seldon.io/rest-timeout="500"', (1.0, DEFAULT)),
        ('seldon.io/rest-timeout="2000"', (2.0, DEFAULT)),
        ('a="b"\n seldon.io/rest-timeout = "2999" \n', (2.0, DEFAULT)),
        ('seldon.io/grpc-max-message-size="10000000"', (0.0, 10_000_000)),
        ('seldon.io/rest-timeout="soon"\nseldon.io/grpc-max-message-size="-1"', (0.0, DEFAULT)),
        ("nothing at all\n\n", (0.0, DEFAULT)),
        ("", (0.0, DEFAULT)),
    ],
)
def test_annotations_set_limits(tmp_path: Path, text: str, expected: tuple[float, int]) -> None:
    """The timeout is in whole seconds and at least one; what cannot be read is passed over."""
    assert limits(tmp_path, text) == expected


def test_a_setting_goes_before_its_annotation(tmp_path: Path) -> None:
    """Whoever sets a limit here means it."""
    text = 'seldon.io/rest-timeout="2000"\nseldon.io/grpc-max-message-size="10000000"'
    assert limits(tmp_path, text, request_timeout_s=7.0, message_limit_bytes=5000) == (7.0, 5000)


def test_lines_are_read_as_the_platform_writes_them(tmp_path: Path) -> None:
    """A value may hold an equals sign; its quotes are dropped; lines without one are logged and skipped."""
    file = tmp_path / "annotations"
    file.write_text('a="b=c"\nbad\n key = "v" \n')
    assert read_annotations(file) == {"a": "b=c", "key": "v"}


def test_a_file_that_cannot_be_read_is_as_none(tmp_path: Path) -> None:
    """No file, a folder, or bytes that are no text: the component starts all the same."""
    broken = tmp_path / "broken"
    broken.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "nothing", tmp_path, broken):
        assert read_annotations(path) == {}
