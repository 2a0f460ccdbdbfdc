"""`infergraph knowledge`: what it fetches and prints."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from infergraph.errors import TargetError
from infergraph_knowledge import fetch, pins, weights_command


def run(*arguments: object):
    """The command with these arguments."""
    return CliRunner().invoke(weights_command.knowledge, [str(argument) for argument in arguments])


def test_weights_that_are_there_are_told(tmp_path):
    """Weights that were fetched before are named with their place and size, and not fetched again."""
    for name, weights in fetch.WEIGHTS.items():
        (tmp_path / weights.file_name).write_bytes(name.encode() * 100_000)
    done = run("fetch", "--weights", tmp_path)
    assert done.exit_code == 0
    assert done.output == (
        f"jiagu: {tmp_path}/jiagu-kg.npz (0.5 MB, was there)\nmsra: {tmp_path}/msra-bilstm.onnx (0.4 MB, was there)\n"
    )


def test_what_cannot_be_fetched_is_a_fault(tmp_path):
    """An unknown name, and an archive that is not there, end as faults that the program turns into one line."""
    for arguments, text in (
        (["nothing"], "there are no weights 'nothing'; there are jiagu, msra"),
        (["jiagu", "--archives", tmp_path], f"there is no archive of jiagu 0.2.3 in {tmp_path}"),
    ):
        done = run("fetch", *arguments, "--weights", tmp_path / "w")
        assert isinstance(done.exception, TargetError)
        assert str(done.exception) == text


def test_pins_are_a_requirements_file():
    """Every pinned package stands on a line that pip takes with --require-hashes; all else are comments."""
    lines = run("pins").output.splitlines()
    required = [line for line in lines if not line.startswith("#")]
    wanted = [pins.LAC, pins.ENGLISH, pins.JIAGU, pins.CHINESE_NER]
    assert required == [f"{one.name}=={one.version} --hash=sha256:{one.sha256}" for one in wanted]


@pytest.mark.parametrize("distribution", [pins.LAC, pins.ENGLISH, pins.JIAGU, pins.CHINESE_NER])
def test_pins_are_whole(distribution):
    """A pin has a digest of the right length, a licence and a use."""
    assert len(bytes.fromhex(distribution.sha256)) == 32
    assert distribution.licence
    assert distribution.use
