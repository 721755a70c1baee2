import json

import numpy as np
import pytest

from trainer.search import Journal, JournalError
from trainer.search.journal import JournalEntry, hash_config, hash_rows


def make_entry(number, **changes):
    fields = {
        "table": "sha256:0",
        "choices": "c",
        "learned": f"l{number}",
        "scored": "s",
        "parameters": {"hidden": [8]},
        "scores": {"accuracy": 1 / 3},
        "seconds": 0.1,
    }
    return JournalEntry(**fields | changes)


def write_journal(path, count=3):
    """Return a journal with some entries."""
    journal = Journal(path)
    for number in range(count):
        journal.add(make_entry(number))
    return journal


def test_journal_opened_again_has_its_entries(tmp_path):
    path = tmp_path / "new" / "folders" / "journal.jsonl"
    write_journal(path)
    second = Journal(path)
    assert second.has_fit(make_entry(1).fit_key)
    assert second.find(make_entry(1).fit_key, "s") == make_entry(1)
    assert second.find(make_entry(1).fit_key, "other") is None
    assert not second.has_fit(make_entry(7).fit_key)
    assert second.find(make_entry(7).fit_key, "s") is None
    assert (second.n_added, second.n_reused) == (0, 1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["learned"] for line in lines] == ["l0", "l1", "l2"]
    assert lines[0]["scores"] == {"accuracy": 1 / 3}


def test_journal_added_entry_is_found(tmp_path):
    journal = write_journal(tmp_path / "journal.jsonl", 1)
    assert journal.has_fit(make_entry(0).fit_key)
    assert journal.find(make_entry(0).fit_key, "s") == make_entry(0)
    assert (journal.n_added, journal.n_reused) == (1, 1)


def test_journal_incomplete_last_line_is_deleted(tmp_path):
    path = tmp_path / "journal.jsonl"
    write_journal(path)
    complete = path.read_bytes()
    start = len(b"".join(complete.splitlines(keepends=True)[:2]))
    for end in range(start, len(complete)):
        path.write_bytes(complete[:end])
        reopened = Journal(path)
        assert reopened.has_fit(make_entry(1).fit_key)
        assert not reopened.has_fit(make_entry(2).fit_key)
        reopened.add(make_entry(2))
        assert path.read_bytes() == complete


def test_journal_damaged_line_is_refused(tmp_path):
    path = tmp_path / "journal.jsonl"
    write_journal(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-5], lines[2], ""]))
    with pytest.raises(JournalError, match=r"journal.jsonl, line 2: expected a line of a search's"):
        Journal(path)


def test_journal_on_entry_gets_each_entry(tmp_path):
    entries = []
    journal = Journal(tmp_path / "journal.jsonl", on_entry=entries.append)
    journal.add(make_entry(0))
    assert entries == [make_entry(0)]


def test_hash_config_depends_on_options_that_change_a_score(make_config):
    first = hash_config(make_config())
    for unrelated in ({"name": "other"}, {"skip_baselines": False}, {"data": "wine"}):
        assert hash_config(make_config(**unrelated)) == first
    for related in ({"hidden": 9}, {"seed": 1}, {"validation": 0.2}, {"aim": "f1"}):
        assert hash_config(make_config(**related)) != first


def test_hash_rows_depends_on_the_order():
    assert hash_rows(np.array([1, 2])) == hash_rows(np.array([1, 2]))
    assert hash_rows(np.array([1, 2])) != hash_rows(np.array([2, 1]))


def test_journal_syncs_the_complete_line(tmp_path, monkeypatch):
    path, synced = tmp_path / "journal.jsonl", []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(path.read_bytes()))
    write_journal(path, 2)
    complete = path.read_bytes()
    assert synced == [complete[: complete.index(b"\n") + 1], complete]
