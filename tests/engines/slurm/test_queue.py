from __future__ import annotations

from synthtrial.engines.slurm.queue import (
    Queue,
    last_lines,
    parse_sacct,
    parse_squeue,
    spelled_out,
    submit_limit,
)

SACCT = """\
7_0|digits-0001|COMPLETED|0:0|node1
7_1|digits-0001|CANCELLED by 1000|0:15|node2
7_[2-4,6%2]|digits-0001|PENDING|0:0|None assigned
8|digits-0002|OUT_OF_MEMORY|0:125|node[1-2]
9|digits-0003|TIMEOUT+|0:0|node1
"""


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_ranges_of_an_array_are_spelled_out():
    assert spelled_out("7_[1-3,5%2]") == ["7_1", "7_2", "7_3", "7_5"]
    assert spelled_out("7_4") == ["7_4"]
    assert spelled_out("7") == ["7"]


def test_accounting_is_read():
    found = parse_sacct(SACCT)
    assert set(found) == {"7_0", "7_1", "7_2", "7_3", "7_4", "7_6", "8", "9"}
    assert (found["7_1"].state, found["7_1"].detail) == ("CANCELLED", "CANCELLED by 1000")
    assert (found["7_3"].alive, found["7_3"].nodes) == (True, "")
    assert (found["8"].exit_code, found["8"].nodes) == ("0:125", "node[1-2]")
    assert found["9"].state == "TIMEOUT"
    assert not found["8"].alive


def test_the_queue_is_read():
    found = parse_squeue("7_0|a|RUNNING|None|node1\n7_1|a|PENDING|Priority|\n")
    assert (found["7_0"].state, found["7_0"].nodes) == ("RUNNING", "node1")
    assert (found["7_1"].detail, found["7_1"].name) == ("Priority", "a")


def test_without_accounting_the_queue_is_asked_and_accounting_never_again(tmp_path, monkeypatch):
    script(tmp_path, "sacct", f"echo x >> {tmp_path}/asked; echo accounting disabled >&2; exit 1")
    script(tmp_path, "squeue", "echo '7|digits-0001|RUNNING|None|node1'; echo '9|other|RUNNING|||'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    queue = Queue()
    for _ in range(2):
        found = queue.ask(["7", "8"], since=0.0)
        assert found is not None
        assert set(found) == {"7"}
    assert queue.lists_all
    assert (tmp_path / "asked").read_text() == "x\n"


def test_a_database_that_is_away_for_a_moment_is_asked_again(tmp_path, monkeypatch):
    script(tmp_path, "sacct", f"echo x >> {tmp_path}/asked; echo no connection >&2; exit 1")
    script(tmp_path, "squeue", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    queue = Queue()
    assert queue.ask(["7"], since=0.0) == {}
    assert queue.ask(["7"], since=0.0) == {}
    assert (tmp_path / "asked").read_text() == "x\nx\n"


def test_silence_of_slurm_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Queue().ask(["7"], since=0.0) is None


def test_limits_count_only_where_they_are_enforced(tmp_path, monkeypatch):
    script(tmp_path, "sacctmgr", "echo '200|'; echo '|50'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert submit_limit("me", {"AccountingStorageEnforce": "associations,limits"}) == 50
    assert submit_limit("me", {"AccountingStorageEnforce": "none"}) is None


def test_the_end_of_a_log_is_read_without_the_rest(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n" for n in range(1000)))
    assert last_lines(log, 2) == ["line 998", "line 999"]
    assert last_lines(tmp_path / "none", 2) == []
