"""The development cluster is what tests of SLURM believe it to be."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from devslurm import DevSlurm, DevSlurmError, down_abandoned

PROGRAM = Path(__file__).parents[2] / "cluster" / "devslurm" / "devslurm.py"
GLOO = """
import os
import torch
import torch.distributed as dist
rank, world_size = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
store = f"tcp://{os.environ['SLURM_STEP_NODELIST'].replace('[', '').split('-')[0]}:29511"
dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world_size)
total = torch.tensor([rank + 1.0])
dist.all_reduce(total)
print(int(total))
dist.destroy_process_group()
"""


def until(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def ok(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def submit(cluster, script, *options):
    words = ["sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={script}"]
    return ok(cluster.run(*words)).strip()


def job(cluster, number):
    """What the controller says of a job: `JobState`, `Restarts`, ..."""
    shown = ok(cluster.run("scontrol", "show", "job", number))
    return dict(word.split("=", 1) for word in shown.split() if "=" in word)


def started(cluster, script, *options):
    number = submit(cluster, script, *options)
    until(lambda: job(cluster, number)["JobState"] == "RUNNING", f"job {number} runs")
    return number


def says(path, word):
    with suppress(FileNotFoundError):  # it is replaced now and then
        return word.encode() in path.read_bytes()


def with_namespaces(cluster):
    if not cluster.layout.namespaces:
        pytest.skip("NOT TESTED: nodes with a network of their own need root and namespaces")
    return cluster


def traces(*marks):
    """Living processes, links and mounts that say one of these words, as a path or a name."""
    marks = [str(mark) for mark in marks]
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        said = []
        for name in ("cmdline", "environ", "cwd", "exe", *(f"fd/{fd}" for fd in range(16))):
            path = process / name
            try:
                text = name in ("cmdline", "environ")
                said.append(path.read_text(errors="replace") if text else str(path.readlink()))
            except OSError:  # it has ended meanwhile, or is a kernel thread
                continue
        if any(mark in text for mark in marks for text in said):
            found.append(said[0].replace("\0", " "))
    others = [link.name for link in Path("/sys/class/net").iterdir()]
    others += Path("/proc/mounts").read_text().splitlines()
    others += [str(path) for path in Path("/run/netns").glob("*")]
    return found + [text for text in others if any(mark in text for mark in marks)]


def devslurm(*arguments, **environment):
    return subprocess.run(
        [sys.executable, PROGRAM, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=250,
    )


def refuses(*arguments, **environment):
    """What the one line says with which a command fails, or its first line."""
    done = devslurm(*arguments, **environment)
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    assert done.stderr.startswith("devslurm: ")
    return done.stderr


@pytest.fixture
def place():
    """A folder with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="devslurm-") as folder:
        yield Path(folder)


def test_nodes_are_idle_and_have_their_gpus(slurm):
    until(lambda: slurm.states() == {"node1": "idle", "node2": "idle"}, "all nodes are idle")
    shown = ok(slurm.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %c %G"))
    assert shown.splitlines() == ["node1 4 gpu:2", "node2 4 gpu:2"]
    seen = ok(slurm.run("srun", "--gres=gpu:2", "printenv", "CUDA_VISIBLE_DEVICES"))
    assert seen == "0,1\n"
    refused = slurm.run("srun", "--gres=gpu:3", "--nodes=1", "true")
    assert refused.returncode
    assert "Requested node configuration is not available" in refused.stderr


def test_the_fixture_makes_clients_find_the_cluster(slurm):
    assert os.environ["SLURM_CONF"] == slurm.environment["SLURM_CONF"]
    said = subprocess.run(["scontrol", "ping"], capture_output=True, text=True)
    assert "is UP" in ok(said)


def test_every_node_has_a_name_and_an_address_of_its_own(slurm):
    with_namespaces(slurm)
    own = ok(slurm.run("srun", "--nodes=2", "sh", "-c", "getent hosts $(hostname)"))
    assert sorted(line.split() for line in own.splitlines()) == [
        [slurm.layout.address("node1"), "node1"],
        [slurm.layout.address("node2"), "node2"],
    ]
    assert slurm.layout.address("node1") != slurm.layout.address("node2")
    box = ok(slurm.run("srun", "--nodes=1", "sh", "-c", "getent hosts $SLURM_SUBMIT_HOST"))
    assert box.split()[0] == slurm.layout.box_address


def test_the_box_and_a_node_reach_each_other(slurm, tmp_path):
    program = tmp_path / "meet.py"
    program.write_text(
        textwrap.dedent("""
            import os, socket, sys
            box = socket.create_connection((os.environ["SLURM_SUBMIT_HOST"], int(sys.argv[1])))
            here = socket.create_server(("", 0))
            box.sendall(f"{here.getsockname()[1]}\\n".encode())
            print(here.accept()[0].recv(100).decode())
        """)
    )
    with socket.create_server(("", 0)) as server:
        server.settimeout(60)
        port = server.getsockname()[1]
        command = ["srun", "--nodelist=node2", sys.executable, program, str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            connection = server.accept()[0]
            with closing(connection), connection.makefile() as lines:
                there = (slurm.layout.address("node2"), int(lines.readline()))
            with socket.create_connection(there, timeout=60) as back:
                back.sendall(b"hello")
            assert client.communicate(timeout=60)[0] == "hello\n"


def test_torch_computes_across_nodes_with_no_settings(slurm, tmp_path):
    program = tmp_path / "gloo.py"
    program.write_text(GLOO)
    done = slurm.run("srun", "--nodes=2", "--ntasks=2", sys.executable, program)
    assert ok(done).split() == ["3", "3"]


def test_a_job_is_in_the_accounting(slurm):
    good, bad = submit(slurm, "true"), submit(slurm, "exit 3")

    def accounted():
        fields = ("--format=JobID,State,ExitCode", "--parsable2", "--noheader", "--allocations")
        return set(ok(slurm.run("sacct", f"--jobs={good},{bad}", *fields)).split())

    until(lambda: accounted() == {f"{good}|COMPLETED|0:0", f"{bad}|FAILED|3:0"}, "both are there")


def test_an_array_runs(slurm, tmp_path):
    script = f"echo $SLURM_ARRAY_TASK_ID >{tmp_path}/$SLURM_ARRAY_TASK_ID"
    submit(slurm, script, "--array=0-5", "--wait")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == [f"{n}\n" for n in range(6)]
    refused = slurm.run("sbatch", "--array=0-1001", "--wrap=true")
    assert refused.returncode
    assert "Invalid job array specification" in refused.stderr


def test_a_job_that_takes_too_much_memory_is_killed(slurm, tmp_path):
    program = tmp_path / "greedy.py"
    program.write_text("import time; taken = b'x' * (400 << 20); time.sleep(600)")
    number = submit(slurm, f"{sys.executable} {program}", "--mem=100")
    until(lambda: job(slurm, number)["JobState"] not in ("PENDING", "RUNNING"), "it is killed")
    assert (job(slurm, number)["JobState"], job(slurm, number)["ExitCode"]) == ("FAILED", "0:9")


def test_a_job_in_high_preempts_one_in_main(new_slurm):
    cluster = new_slurm(nodes=1, accounting=False, grace_seconds=1)
    low = started(cluster, "sleep 600", "--exclusive", "--requeue")
    started(cluster, "sleep 600", "--exclusive", "--partition=high")
    assert job(cluster, low)["JobState"] == "PENDING"
    assert job(cluster, low)["Restarts"] == "1"


@pytest.mark.parametrize("kill", [False, True])
def test_a_restart_of_the_controller_keeps_a_running_job(slurm, tmp_path, kill):
    name, state = f"job-{time.time_ns()}", slurm.folder / "state"
    number = started(slurm, f"echo begun >>{tmp_path}/runs; sleep 600", f"--job-name={name}")
    until((tmp_path / "runs").exists, "it has written a line")
    until(lambda: says(state / "job_state", name), "the job is in the saved state")
    slurm.restart_controller(kill=kill)
    if kill:  # it may have forgotten that the job runs; then it lets it run anew
        until(lambda: job(slurm, number)["JobState"] == "RUNNING", "it runs on, or again")
    else:
        assert job(slurm, number)["JobState"] == "RUNNING"
        assert (tmp_path / "runs").read_text() == "begun\n"
    ok(slurm.run("scancel", number))
    until(lambda: job(slurm, number)["JobState"] == "CANCELLED", "it is cancelled")


def test_a_node_loses_its_power_and_gets_it_back(new_slurm):
    cluster = with_namespaces(new_slurm(accounting=False))
    word = f"{time.time_ns()}"  # a sleep that is known by its length
    started(cluster, f"sleep {word}", "--nodelist=node2")
    until(lambda: traces(word), "the job's process is there")
    cluster.power_cut("node2")
    assert traces(word) == cluster.processes("node2") == []
    with pytest.raises(OSError):
        socket.create_connection((cluster.layout.address("node2"), 22), timeout=1)
    assert ok(cluster.run("srun", "--nodelist=node1", "hostname")) == "node1\n"
    cluster.power_on("node2")
    assert ok(cluster.run("srun", "--nodelist=node2", "hostname")) == "node2\n"


def test_two_clusters_live_side_by_side(slurm, new_slurm):
    other = new_slurm(nodes=1, accounting=False)
    number = started(other, "sleep 600")
    assert "Invalid job id" in slurm.run("scontrol", "show", "job", number).stderr
    assert slurm.states().keys() == {"node1", "node2"}
    assert other.states().keys() == {"node1"}
    assert ok(slurm.run("srun", "--nodes=2", "true")) == ""
    if other.layout.namespaces:
        assert other.layout.network != slurm.layout.network


@pytest.mark.parametrize(
    ("namespaces", "accounting", "killed"),
    [
        (None, False, ()),
        (None, True, ("munged", "slurmctld", "slurmdbd", "mariadbd", "node1")),
        (False, False, ("munged", "slurmctld", "node1")),
    ],
)
def test_down_leaves_nothing(new_slurm, namespaces, accounting, killed):
    cluster = new_slurm(namespaces=namespaces, accounting=accounting)
    word = f"{time.time_ns()}"  # a sleep that is known by its length
    started(cluster, f"setsid sleep {word} & env -i sleep {word}", "--nodelist=node2")
    name = cluster.layout.cluster
    until(lambda: len(traces(word)) == 2, "both processes of the job are there")
    assert len(traces(cluster.folder, name)) >= 6
    for role in killed:
        for process in cluster.processes(role):
            with suppress(ProcessLookupError):  # process 1 of a node took it along
                os.kill(process, signal.SIGKILL)
    cluster.down()
    until(lambda: not traces(cluster.folder, name, word), "nothing is left", 20)
    assert not cluster.folder.exists()
    assert name not in subprocess.run(["ip", "route"], capture_output=True, text=True).stdout


def test_what_a_dead_process_left_is_cleared_away(slurm_is_installed, place):
    folders = [place / "again", place / "never"]
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from devslurm import DevSlurm\n"
        "for folder in sys.argv[2:]: DevSlurm(folder, nodes=1, accounting=False).__enter__()\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, PROGRAM.parent, *folders], check=False)
    left = [DevSlurm(folder) for folder in folders]
    try:
        assert [cluster.states() for cluster in left] == [{"node1": "idle"}, {"node1": "idle"}]
        with DevSlurm(folders[0], accounting=False) as cluster:
            both = {"node1": "idle", "node2": "idle"}
            assert cluster.states() == both
            with pytest.raises(DevSlurmError, match=f"is used by process {os.getpid()}"):
                left[0].up()
            down_abandoned(place, "*")
            assert cluster.states() == both
        assert not traces(folders[1])
    finally:
        for cluster in left:
            cluster.down()


def test_the_command_line(slurm_is_installed, place):
    where = f"--folder={place}/c"
    try:
        up = devslurm("up", where, "--nodes=1", "--no-accounting", "--conf", "maxarraysize=3")
        assert ok(up) == f"export SLURM_CONF={place}/c/slurm.conf\n"
        shell = ["bash", "-c", f"{up.stdout} scontrol show config"]
        shown = ok(subprocess.run(shell, capture_output=True, text=True))
        assert re.search(r"MaxArraySize\s*= 3$", shown, re.MULTILINE)
        assert re.search(r"^node1 .* idle$", ok(devslurm("status", where)), re.MULTILINE)
        assert "is up in" in refuses("up", where)
        ok(devslurm("power-cut", "node1", where))
        ok(devslurm("power-on", "node1", where))
        assert "no node2, only node1" in refuses("power-on", "node2", where)
        ok(devslurm("down", "--keep", where))
        assert (place / "c" / "log" / "slurmctld.log").exists()
        assert devslurm("status", where).returncode == 1
    finally:
        ok(devslurm("down", where))
    assert not (place / "c").exists()


def test_missing_packages_are_named_with_what_to_do():
    said = refuses("up", PATH="")
    assert "srun" in said
    assert "apt-get install" in said
    assert said.count("\n") == 1


def test_a_port_that_is_taken_is_named(slurm_is_installed, place):
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        said = refuses("up", f"--folder={place}/c", f"--port={port}")
    assert f"port {port} is taken" in said
    assert said.count("\n") == 1
    assert not (place / "c").exists()


def test_a_path_that_is_too_long_for_sockets_is_refused(slurm_is_installed, place):
    assert "too long" in refuses("up", f"--folder={place}/{'c' * 60}")


def test_a_daemon_that_does_not_start_is_quoted(slurm_is_installed, place):
    said = refuses("up", f"--folder={place}/c", "--no-accounting", "--conf", "NoSuchKey=1")
    assert re.search("slurmctld does not start.*NoSuchKey", said, re.DOTALL)
    assert not traces(place / "c")


def test_a_daemon_that_does_not_answer_is_quoted(slurm_is_installed, place):
    # The node has less memory than it should, and so the controller does not take it.
    options = {"memory_mb": 10**9, "conf": {"SlurmdParameters": "shutdown_on_reboot"}}
    cluster = DevSlurm(place / "c", nodes=1, accounting=False, timeout_seconds=2, **options)
    with pytest.raises(DevSlurmError, match=r"does not answer \(after 2 s\); its log ends with:\n"):
        cluster.up()
    assert not traces(place / "c")


def test_a_folder_of_something_else_is_left_alone(slurm_is_installed, place):
    (place / "mine").write_text("precious")
    with pytest.raises(DevSlurmError, match="neither empty nor a cluster's"):
        DevSlurm(place).up()
    DevSlurm(place).down()
    assert (place / "mine").read_text() == "precious"
