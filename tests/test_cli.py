"""The command line as people meet it: what it prints, how it exits, what it does with mistakes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synthtrial import cli
from synthtrial.store.artifacts import open_store
from synthtrial.store.journal import encode, journal_folder
from synthtrial.store.records import read_records
from synthtrial.study import load

HEAVY = ("torch", "torchvision", "ray", "submitit", "sklearn", "pandas", "scipy", "matplotlib")
VERBS = sorted(cli.cli.commands)
#: Two trials that the finished study has not run: new work for a store, in the least time.
FEW = ("engine.workers=1", "--where", "arm=none,regimen=1.0,stage=grid")
NEW = ("training.epochs=3", *FEW)


@pytest.fixture
def refused(verb):
    """Run what cannot succeed and return its one error."""

    def call(*arguments, code=1):
        result = verb(*arguments)
        assert result.code == code, result
        assert "Traceback" not in result.out + result.err
        assert result.err.startswith("error: ")
        assert result.err.count("error: ") == 1
        return result.err

    return call


@pytest.fixture
def copied(finished_study, tmp_path):
    """Return overrides of a finished study whose store may be spoilt, and that store's folder."""

    def make(where=tmp_path, *overrides):
        folder = Path(where) / "store"
        shutil.copytree(load("digits", finished_study[0]).settings.store.path, folder)
        places = [f"store.path={folder}", f"store.report_path={tmp_path / 'reports'}"]
        return [*finished_study[0], *places, *overrides], folder

    return make


def loaded_after(*arguments):
    """Return the heavy libraries that a command has imported, in a process of its own."""
    code = (
        "import sys\n"
        "from synthtrial.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"print('imported:', *({HEAVY} & sys.modules.keys()), file=sys.stderr)\n"
    ).replace(str(HEAVY), str(set(HEAVY)))
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.partition("imported:")[2].split()


def test_help_needs_no_heavy_library():
    assert loaded_after("--help") == []


def test_planning_needs_no_heavy_library(tmp_path):
    assert loaded_after("plan", "digits", f"store.path={tmp_path / 'none'}") == []


@pytest.mark.parametrize("name", ["plan", "status"])
def test_looking_at_a_finished_study_needs_no_heavy_library(name, finished_study):
    assert loaded_after(name, "digits", *finished_study[0]) == []


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_explains_itself(name, verb):
    result = verb(name, "--help")
    assert result.code == 0
    assert f"Usage: synthtrial {name}" in result.out
    assert cli.cli.commands[name].help.splitlines()[0].split(";")[0] in " ".join(result.out.split())
    assert "[KEY=VALUE]..." in result.out


def test_the_list_of_verbs_names_all_of_them(verb):
    result = verb("--help")
    assert result.code == 0
    assert all(f"  {name} " in result.out for name in VERBS)


def test_the_version_is_said(verb):
    assert verb("--version").out.startswith("synthtrial ")


@pytest.mark.parametrize("arguments", [["fly"], ["plan"], ["plan", "digits", "--fast"]])
def test_a_wrong_command_line_exits_with_2_and_shows_the_usage(arguments, verb):
    result = verb(*arguments)
    assert result.code == 2
    assert "Usage: synthtrial" in result.err
    assert "Error: " in result.err


def test_plan_and_status_and_verify_print_nothing_but_json(finished_study, verb):
    overrides, _ = finished_study
    plan, status, verify = (
        json.loads(verb(name, "digits", *overrides, "--json").out)
        for name in ("plan", "status", "verify")
    )
    assert plan["study"] == status["study"] == "digits"
    assert plan["to_do"] == []
    assert plan["stages"] == status["stages"]
    assert status["complete"]
    assert status["running"] == []
    assert verify["problems"] == []
    assert verify["checked"]["dataset"] == 1


def test_a_plan_without_a_store_lists_everything_as_to_do(tmp_path, verb):
    where = f"store.path={tmp_path / 'none'}"
    found = json.loads(verb("plan", "digits", where, "--json").out)
    assert len(found["to_do"]) == sum(stage["total"] for stage in found["stages"].values()) - 120
    assert [task["kind"] for task in found["to_do"] if task["ready"]] == ["prepare"]
    assert not (tmp_path / "none").exists()
    assert "Everything is new" in verb("plan", "digits", where, "--why").out


def test_why_names_the_setting_that_makes_trials_new(finished_study, verb):
    out = verb("plan", "digits", *finished_study[0], "training.epochs=3", "--why").out
    assert "training.epochs" in out


def test_status_of_a_study_that_never_ran_says_how_to_start_it(tmp_path, verb):
    where = f"store.path={tmp_path / 'none'}"
    result = verb("status", "digits", where)
    assert result.code == 0
    assert f"`synthtrial run digits {where}` starts one" in result.out


def test_du_and_gc_look_and_leave_everything(copied, verb):
    overrides, folder = copied()
    before = sorted(folder.rglob("*"))
    assert "total" in verb("du", "digits", *overrides).out
    assert "would remove" in verb("gc", "digits", *overrides, "--dry-run", "--unused").out
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["report", "verify", "du", "gc"])
def test_verbs_that_need_a_store_say_so(name, refused, tmp_path):
    error = refused(name, "digits", f"store.path={tmp_path / 'none'}", code=2)
    assert f"there is no store at {tmp_path / 'none'}" in error
    assert "synthtrial run digits" in error


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_goes_away_is_not_told_off(options, tmp_path):
    command = [sys.executable, "-m", "synthtrial", "plan", "digits", f"store.path={tmp_path}/none"]
    child = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    child.wait()


@pytest.mark.parametrize(
    ("mistake", "answer"),
    [
        ("trainng.epochs=3", "unknown setting 'trainng': did you mean 'training'? Allowed: "),
        ("training.epoch=3", "unknown setting 'training.epoch': did you mean 'epochs'? Allowed: "),
        ("training.epochs=many", "setting 'training.epochs': Value 'many'"),
        ("regimens=all", "regimens"),
        ("arms.x.preset=standrd", "unknown arm 'standrd': did you mean 'standard'? Allowed: "),
        ("arms.mixup={}", "no installed arm has that name: allowed: "),
        ("dataset.name=digit", "unknown dataset 'digit': did you mean 'digits'? Allowed: "),
        ("classifier.name=cnn", "unknown classifier 'cnn': allowed: densenet121"),
        ("generator.name=projector", "did you mean 'projection'? Allowed: concat, "),
        ("imbalance.classes=[8,11]", "has no class '11': "),
        ("statistics.minority=[nine]", "has no class 'nine': allowed: 0, 1, 2"),
        ("balance.classes=[8,x]", "arms.gan.balance.classes: the dataset 'digits' has no class"),
    ],
)
@pytest.mark.parametrize("name", ["plan", "run"])
def test_a_mistake_in_a_setting_is_one_error_and_touches_nothing(
    name, mistake, answer, refused, tmp_path
):
    where = f"store.path={tmp_path / 'store'}"
    assert answer in refused(name, "digits", where, mistake, code=2)
    assert not list((tmp_path / "store").glob("*/*"))


def test_an_unknown_study_is_answered_with_those_there_are(refused):
    assert "did you mean 'digits'? Allowed: " in refused("run", "digit", code=2)


@pytest.mark.parametrize(
    ("where", "answer"),
    [
        ("arm=gam", "no trial has arm=gam: did you mean 'gan'? Allowed: "),
        ("amr=gan", "unknown key 'amr': did you mean 'arm'? Allowed: "),
        ("gan", "'gan' is not of the form key=value"),
    ],
)
def test_a_condition_that_nothing_meets_is_refused(where, answer, refused, tmp_path):
    place = f"store.path={tmp_path / 'none'}"
    assert answer in refused("plan", "digits", place, "--where", where, code=2)


def test_a_regimen_without_a_class_is_refused_once_for_all_its_trials(copied, refused, verb):
    overrides, _ = copied()
    one_percent = ("engine.workers=1", "--where", "arm=none,regimen=0.01,stage=grid")
    error = refused("run", "digits", *overrides, "regimens=[0.01]", *one_percent)
    assert "the regimen of 1 % has no image of class '8', '9'" in error
    assert "Use a larger regimen" in error
    assert verb("run", "digits", *overrides, *NEW).code == 0


def test_a_target_that_cannot_be_reached_is_refused(copied, refused, verb):
    overrides, _ = copied()
    gan = ("engine.workers=1", "--where", "arm=gan,regimen=1.0,stage=grid")
    error = refused("run", "digits", *overrides, "balance.target=0.6", *gan)
    assert "no number of added images brings 8, 9 to a prevalence of 0.6" in error
    assert "Lower balance.target" in error
    assert verb("run", "digits", *overrides, *NEW).code == 0


def test_a_trial_that_diverges_is_a_result_and_no_error(copied, verb):
    overrides, folder = copied()
    wild = [*overrides, "grid.learning_rate=[1.0e+30,0.01]", "grid.optimizer=[momentum]", *FEW]
    for _ in range(2):  # found again, it is what it was
        result = verb("run", "digits", *wild)
        assert (result.code, result.err) == (0, "")
    statuses = read_records(open_store(folder)).column("status").to_pylist()
    assert statuses.count("diverged") == 1


def missing(shard):
    shard.unlink()


def truncated(shard):
    shard.write_bytes(shard.read_bytes()[:-1000])


def altered(shard):
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)


@pytest.mark.parametrize("damage", [missing, truncated, altered])
def test_a_damaged_shard_is_named_and_made_anew_once_it_is_deleted(
    damage, copied, refused, verb, tmp_path
):
    overrides, folder = copied(tmp_path, f"store.cache_path={tmp_path / 'cold'}")
    (shard,) = folder.glob("dataset/*/shard-*.parquet")
    damage(shard)
    error = refused("run", "digits", *overrides, *NEW)
    assert str(shard) in error
    assert f"delete the folder {shard.parent}" in error
    verified = verb("verify", "digits", *overrides)
    assert verified.code == 1
    assert shard.name in verified.out
    shutil.rmtree(shard.parent)
    assert verb("run", "digits", *overrides, *NEW).code == 0
    assert verb("verify", "digits", *overrides).code == 0


def test_a_torn_journal_costs_the_trial_that_was_torn_and_no_error(copied, verb):
    overrides, folder = copied()
    store = open_store(folder)
    rows = read_records(store, every_attempt=True).to_pylist()
    rows.sort(key=lambda row: row["stage"] == "grid")  # the last one is of the grid
    *whole, torn = [encode({k: v for k, v in row.items() if v is not None}) for row in rows]
    shutil.rmtree(folder / "records" / "segments")
    journal = journal_folder(store) / "elsewhere-1-0123456789abcdef.jsonl"
    journal.write_bytes(b"".join(whole) + torn[: len(torn) // 2])
    status = json.loads(verb("status", "digits", *overrides, "--json").out)
    stages = [stage for stage in status["stages"].values() if stage["done"] < stage["total"]]
    assert sum(stage["total"] - stage["done"] for stage in stages) == 1
    result = verb("run", "digits", *overrides, "engine.workers=1", "--where", "stage=grid")
    assert (result.code, result.err) == (0, "")
    assert read_records(store).num_rows == len(rows)
    assert not journal.exists()


@pytest.mark.parametrize("name", ["plan", "run", "status", "report", "verify", "du", "gc"])
def test_a_store_of_a_newer_synthtrial_is_left_alone(name, refused, tmp_path):
    marker = tmp_path / "store.json"
    marker.write_text('{"schema": 99}')
    error = refused(name, "digits", f"store.path={tmp_path}")
    assert f"{marker} has schema 99" in error
    assert "Install the newer synthtrial" in error
    assert list(tmp_path.iterdir()) == [marker]


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(mount, finished_study, refused, verb):
    disk = mount("size=200k")
    overrides = [*finished_study[0], f"store.path={disk / 'store'}"]
    error = refused("run", "digits", *overrides, *FEW)
    assert f"the disk that holds {disk / 'store'}" in error
    assert "is full" in error
    assert "it resumes" in error
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    assert verb("run", "digits", *overrides, *FEW).code == 0
    assert verb("verify", "digits", *overrides).code == 0


def test_a_read_only_store_can_be_looked_at_and_not_run(
    mount, remount_read_only, copied, refused, verb
):
    disk = mount("size=64m")
    overrides, folder = copied(disk)
    remount_read_only(disk)
    assert verb("plan", "digits", *overrides).code == 0
    assert verb("status", "digits", *overrides).code == 0
    assert verb("verify", "digits", *overrides).code == 0
    error = refused("run", "digits", *overrides, *NEW)
    assert f"{folder}" in error
    assert "read-only" in error
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert verb("run", "digits", *overrides, *NEW).code == 0
