"""Settings: sources, conversion, refusals."""

import pytest

from infergraph import settings
from infergraph.errors import SettingsError


def test_command_line_beats_environment_beats_default() -> None:
    """Each value comes from the strongest source that has it, and its origin is told."""
    loaded = settings.load({"GUNICORN_WORKERS": "3", "INFERGRAPH_THREADS": "4"}, {"threads": 5})
    assert (loaded.settings.workers, loaded.settings.threads, loaded.settings.http_port) == (3, 5, 9000)
    assert loaded.origins["workers"] == "environment GUNICORN_WORKERS"
    assert loaded.origins["threads"] == "command line"
    assert loaded.origins["http_port"] == "default"


def test_our_own_name_beats_the_inherited_one() -> None:
    """INFERGRAPH_WORKERS counts before GUNICORN_WORKERS."""
    assert settings.load({"GUNICORN_WORKERS": "3", "INFERGRAPH_WORKERS": "2"}, {}).settings.workers == 2


@pytest.mark.parametrize(
    ("environment", "given", "words"),
    [
        ({"INFERGRAPH_WORKRES": "2"}, {}, ["INFERGRAPH_WORKRES"]),
        ({"GUNICORN_WORKERS": "many"}, {}, ["GUNICORN_WORKERS", "many", "workers"]),
        ({}, {"http_port": 70000}, ["--http-port", "70000"]),
        ({}, {"nan": "none"}, ["--nan", "none"]),
        ({"INFERGRAPH_STRICT": "perhaps"}, {}, ["INFERGRAPH_STRICT", "perhaps"]),
        ({"SELDON_LOG_LEVEL": "LOUD"}, {}, ["SELDON_LOG_LEVEL", "LOUD"]),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    environment: dict[str, str], given: dict[str, object], words: list[str]
) -> None:
    """An unknown name or an unreadable value is a SettingsError that names both."""
    with pytest.raises(SettingsError) as caught:
        settings.load(environment, given)
    assert all(word in str(caught.value) for word in words)


def test_every_setting_is_described() -> None:
    """Each setting has help, a type and its own environment name; byte and second settings say their unit."""
    for row in settings.describe():
        assert row.help
        assert row.env[0] == "INFERGRAPH_" + row.name.upper()
        assert row.unit or not row.name.endswith(("_s", "_bytes"))


@pytest.mark.parametrize(("text", "value"), [("TRUE", True), ("on", True), ("y", True), ("0", False), ("Off", False)])
def test_booleans_are_read_as_people_write_them(text: str, value: bool) -> None:
    """A boolean is understood in any case and usual spelling."""
    assert settings.read_bool(text) is value
