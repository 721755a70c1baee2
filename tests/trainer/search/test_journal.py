import json

import numpy as np
import pytest

from trainer.search import Journal, JournalError
from trainer.search.journal import Entry, digest_of_choices, digest_of_rows


def entry(number, **changes):
    parts = {
        "table": "sha256:0",
        "choices": "c",
        "learned": f"l{number}",
        "scored": "s",
        "parameters": {"hidden": [8]},
        "scores": {"accuracy": 1 / 3},
        "seconds": 0.1,
    }
    return Entry(**parts | changes)


def filled(path, count=3):
    journal = Journal(path)
    for number in range(count):
        journal.add(entry(number))
    return journal


def test_what_was_written_is_found_again(tmp_path):
    path = tmp_path / "new" / "folders" / "journal.jsonl"
    filled(path)
    again = Journal(path)
    assert again.knows(entry(1).fit)
    assert again.find(entry(1).fit, "s") == entry(1)
    assert again.find(entry(1).fit, "other") is None
    assert not again.knows(entry(7).fit)
    assert again.find(entry(7).fit, "s") is None
    assert (again.added, again.reused) == (0, 1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["learned"] for line in lines] == ["l0", "l1", "l2"]
    assert lines[0]["scores"] == {"accuracy": 1 / 3}


def test_what_was_just_written_is_known(tmp_path):
    journal = filled(tmp_path / "journal.jsonl", 1)
    assert journal.knows(entry(0).fit)
    assert journal.find(entry(0).fit, "s") == entry(0)
    assert (journal.added, journal.reused) == (1, 1)


def test_wherever_the_last_line_is_torn_the_others_hold(tmp_path):
    path = tmp_path / "journal.jsonl"
    filled(path)
    whole = path.read_bytes()
    start = len(b"".join(whole.splitlines(keepends=True)[:2]))
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        torn = Journal(path)
        assert torn.knows(entry(1).fit)
        assert not torn.knows(entry(2).fit)
        torn.add(entry(2))
        assert path.read_bytes() == whole


def test_a_damaged_line_within_is_named(tmp_path):
    path = tmp_path / "journal.jsonl"
    filled(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-5], lines[2], ""]))
    with pytest.raises(JournalError, match=r"journal.jsonl, line 2: expected a line of a search's"):
        Journal(path)


def test_fits_that_are_written_are_told(tmp_path):
    told = []
    journal = Journal(tmp_path / "journal.jsonl", watch=told.append)
    journal.add(entry(0))
    assert told == [entry(0)]


def test_choices_that_change_a_score_change_the_digest(config):
    first = digest_of_choices(config())
    for same in ({"name": "other"}, {"skip_baselines": False}, {"data": "wine"}):
        assert digest_of_choices(config(**same)) == first
    for other in ({"hidden": 9}, {"seed": 1}, {"validation": 0.2}, {"aim": "f1"}):
        assert digest_of_choices(config(**other)) != first


def test_the_digest_of_rows_is_of_their_order_too():
    assert digest_of_rows(np.array([1, 2])) == digest_of_rows(np.array([1, 2]))
    assert digest_of_rows(np.array([1, 2])) != digest_of_rows(np.array([2, 1]))


def test_a_line_is_in_the_file_before_the_disk_is_waited_for(tmp_path, monkeypatch):
    path, synced = tmp_path / "journal.jsonl", []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(path.read_bytes()))
    filled(path, 2)
    whole = path.read_bytes()
    assert synced == [whole[: whole.index(b"\n") + 1], whole]
