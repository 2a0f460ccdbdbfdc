"""A data folder knows what it serves: no target works on another's tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from infergraph.errors import SettingsError
from infergraph.tasks.ownership import FILE_NAME, Owner, chosen, claim, owner_of

NER = Owner(target="ner.py:NER", folder="/srv")
RE = Owner(target="re.py:RE", folder="/srv")
TUNED = Owner(target="ner.py:NER", folder="/srv", parameters='[{"name": "beam", "value": "9", "type": "INT"}]')


def leave_a_task(root: Path) -> None:
    """What a server leaves that had a task."""
    (root / "tasks" / "folder").mkdir(parents=True)


def test_a_tag_says_what_is_served() -> None:
    """Target, folder, parameters, nodes and predictor tell owners apart; the same ones have the same tag."""
    others = [RE, TUNED, Owner(target="ner.py:NER"), Owner(target="ner.py:NER", folder="/srv", predictor="canary")]
    assert len({owner.tag for owner in (NER, *others)}) == 5
    assert NER.tag == Owner(target="ner.py:NER", folder="/srv").tag


def test_a_folder_in_use_is_the_owners_alone(tmp_path: Path) -> None:
    """Another target, and the same with other parameters, is refused; the same may be started again beside it."""
    first = claim(tmp_path, NER)
    second = claim(tmp_path, NER)
    for other, named in (
        (RE, "ner.py:NER; give re.py:RE another"),
        (TUNED, "with other parameters or nodes; give ner.py:NER another"),
    ):
        with pytest.raises(SettingsError, match=named) as caught:
            claim(tmp_path, other)
        assert "--data-dir" in str(caught.value)
    first.release()
    with pytest.raises(SettingsError, match="in use"):
        claim(tmp_path, RE)
    second.release()
    claim(tmp_path, RE).release()


def test_what_a_target_has_left_waits_for_it(tmp_path: Path) -> None:
    """A newer version of the target goes on; another is refused, until the folder is handed over by hand."""
    claim(tmp_path, NER).release()
    leave_a_task(tmp_path)
    claim(tmp_path, TUNED).release()
    assert owner_of(tmp_path) == TUNED
    with pytest.raises(SettingsError, match=r"holds what ner\.py:NER has left.*--data-dir.*remove"):
        claim(tmp_path, RE)
    (tmp_path / FILE_NAME).unlink()
    claim(tmp_path, RE).release()
    assert owner_of(tmp_path) == RE


@pytest.mark.parametrize("text", [None, b"", b"not JSON"])
def test_a_folder_from_before_goes_on(tmp_path: Path, text: bytes | None) -> None:
    """A folder with tasks that says nothing of its owner, or nothing readable, is taken by who is started there."""
    leave_a_task(tmp_path)
    if text is not None:
        (tmp_path / FILE_NAME).write_bytes(text)
    assert chosen(tmp_path, NER) == tmp_path
    claim(tmp_path, NER).release()
    assert owner_of(tmp_path) == NER


def test_each_target_has_a_folder_of_its_own_by_default(tmp_path: Path) -> None:
    """The first has the folder itself, others one inside it; after any order of restarts each finds its own."""
    held = claim(chosen(tmp_path, NER), NER)
    folder = chosen(tmp_path, RE)
    tuned_folder = chosen(tmp_path, TUNED)
    assert len({tmp_path, folder, tuned_folder}) == 3
    assert {folder.parent, tuned_folder.parent} == {tmp_path}
    locks = [held, claim(folder, RE), claim(tuned_folder, TUNED)]
    for lock in locks:
        lock.release()
    for owner, root in ((TUNED, tuned_folder), (RE, folder), (NER, tmp_path)):
        assert chosen(tmp_path, owner) == root


def test_what_was_left_by_another_is_not_taken_by_default(tmp_path: Path) -> None:
    """Tasks of a target that is not running keep their folder; an empty one is taken, also by a newer version."""
    claim(tmp_path, NER).release()
    assert chosen(tmp_path, RE) == tmp_path
    leave_a_task(tmp_path)
    assert chosen(tmp_path, RE) != tmp_path
    assert chosen(tmp_path, TUNED) == tmp_path


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A path below a file is refused by name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        claim(tmp_path / "file" / "data", NER)
