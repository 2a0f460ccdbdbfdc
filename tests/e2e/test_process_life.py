"""How a whole service starts and ends; over real processes, ports and signals."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from e2e.process_run import (
    PORTS,
    Supervised,
    children_of,
    command_of,
    environment,
    is_alive,
    plan_of,
    start,
    supervised,
    wait_for,
)


def slow_request(running: Supervised, folder: Path) -> tuple[object, Path]:
    """A request that is in work and finishes when the file is made."""
    connection = running.connect()
    connection.request("GET", f"/slow?mark={folder}/mark&until={folder}/until")
    wait_for("the request", (folder / "mark").exists)
    return connection, folder / "until"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_is_in_work(number: signal.Signals, tmp_path: Path) -> None:
    """On SIGTERM or Ctrl-C the open request is answered, new connections are refused, and the exit code is 0."""
    with supervised(plan_of(), tmp_path) as running:
        connection, until = slow_request(running, tmp_path)
        running.process.send_signal(number)

        def refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", running.ports["http_port"])).close()
            except ConnectionRefusedError:
                return True
            return False

        wait_for("a closed port", refused)
        assert running.process.poll() is None
        until.touch()
        answer = connection.getresponse()  # type: ignore[attr-defined]
        assert (answer.status, answer.getheader("connection")) == (200, "close")
        connection.close()  # type: ignore[attr-defined]
        assert running.wait_exit() == 0
        assert children_of(running.process.pid) == set()


def test_during_the_drain_delay_a_service_answers_but_is_not_ready(tmp_path: Path) -> None:
    """Between SIGTERM and the end of drain_delay_s, /ready says 503 and other requests are answered."""
    with supervised(plan_of({"drain_delay_s": 3.0}), tmp_path) as running:
        running.process.send_signal(signal.SIGTERM)
        wait_for("not ready", lambda: running.get("/ready")[0] == 503)
        assert running.get("/pid")[0] == 200
        assert running.wait_exit() == 0


def test_a_request_that_outlasts_the_grace_is_cut(tmp_path: Path) -> None:
    """After grace_s the workers are killed, and the service still ends with 0."""
    with supervised(plan_of({"grace_s": 0.5}), tmp_path) as running:
        connection, _ = slow_request(running, tmp_path)
        running.process.send_signal(signal.SIGTERM)
        assert running.wait_exit() == 0
        connection.close()  # type: ignore[attr-defined]


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Whoever asks twice need not wait for the request in work."""
    with supervised(plan_of({"grace_s": 600.0}), tmp_path) as running:
        connection, _ = slow_request(running, tmp_path)
        running.process.send_signal(signal.SIGTERM)
        running.wait_event("stopping")
        running.process.send_signal(signal.SIGTERM)
        assert running.wait_exit() == 0
        connection.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("setting", sorted(PORTS))
def test_a_taken_port_is_one_line_and_exit_2(setting: str, tmp_path: Path) -> None:
    """For each of the three ports: exit code 2 and one line that names the port and its setting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        running = start(plan_of({setting: port}), tmp_path)
        assert running.wait_exit() == 2
    (line,) = running.errors.read_text().splitlines()
    assert f"port {port} ({setting})" in line


def test_a_unit_that_cannot_be_loaded_is_exit_3_with_one_traceback(tmp_path: Path) -> None:
    """load() that raises ends the service with 3, and the log holds its traceback once though two workers failed."""
    running = start(plan_of({"workers": 2}, {"load": "raise"}), tmp_path)
    assert running.wait_exit() == 3
    (line,) = [line for line in running.log() if "exception" in line]
    assert "no weights here" in line["event"]
    assert line["exception"].rstrip().endswith("ValueError: no weights here")
    assert children_of(running.process.pid) == set()


def test_a_target_that_is_not_there_is_exit_2_without_traceback(tmp_path: Path) -> None:
    """A fault whose text says it all gives its line alone."""
    running = start(plan_of({}, {"load": "fault"}), tmp_path)
    assert running.wait_exit() == 2
    assert "there is no class Nothing" in running.errors.read_text()
    assert "Traceback" not in running.errors.read_text()


def test_a_server_that_cannot_be_imported_is_exit_3(tmp_path: Path) -> None:
    """Whatever goes wrong before the ports are served ends the service too, with its traceback."""
    running = start(plan_of(serve="no.such.module:serve"), tmp_path)
    assert running.wait_exit() == 3
    assert "No module named 'no'" in running.errors.read_text()


def test_a_load_that_kills_its_process_is_given_up(tmp_path: Path) -> None:
    """A unit whose loading ends the process is tried a few times, then the service ends with 3."""
    running = start(plan_of({}, {"load": "die"}), tmp_path)
    assert running.wait_exit() == 3
    assert len(running.events("a worker died")) == 3


def test_a_load_is_retried_until_it_succeeds(tmp_path: Path) -> None:
    """With load_failure=retry the service answers as not ready, and becomes ready when the unit can be loaded."""
    flag = tmp_path / "flag"
    flag.write_text("raise")
    plan = plan_of({"load_failure": "retry"}, {"load": "flag", "flag": str(flag)})
    with supervised(plan, tmp_path, ready=False) as running:
        running.wait_event("the unit could not be loaded: ValueError: no weights here")
        assert running.get("/ready")[0] == 503
        flag.write_text("ok")
        running.wait_event("ready")
        assert running.get("/ready")[0] == 200


def test_no_orphans_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    """kill -9 of the supervisor ends its workers and frees its ports; the next run sweeps what was left."""
    with supervised(plan_of({"workers": 2}), tmp_path) as running:
        workers = running.worker_pids()
        assert len(workers) == 2
        folder = running.metrics_folder()
        running.process.kill()
        running.process.wait()
        for worker in workers:
            wait_for("the end of a worker", lambda worker=worker: not is_alive(worker))
        os.utime(folder, (0, 0))
    again = plan_of({name: running.ports[name] for name in PORTS})
    with supervised(again, tmp_path) as second:
        assert second.get("/pid")[0] == 200
        assert not folder.exists()


def with_a_task(folder: Path) -> dict[str, Any]:
    """Settings with a data folder in which a task is kept."""
    (folder / "data" / "tasks" / "some").mkdir(parents=True)
    return {"tasks": True, "data_dir": str(folder / "data")}


def test_the_task_driver_is_kept_running(tmp_path: Path) -> None:
    """With tasks on, the driver is started, started again when killed or when the workers roll, and ended with us."""

    def started() -> list[int]:
        return [int(path.stem) for path in tmp_path.glob("*.started")]

    plan = plan_of(with_a_task(tmp_path), {"driver_folder": str(tmp_path)}, driver="e2e.process_driver")
    with supervised(plan, tmp_path) as running:
        (first,) = wait_for("the driver", started)
        os.kill(first, signal.SIGKILL)
        wait_for("a second driver", lambda: len(started()) == 2)
        running.wait_event("the task driver ended")
        running.process.send_signal(signal.SIGHUP)
        wait_for("a third driver", lambda: len(started()) == 3)
        running.process.send_signal(signal.SIGTERM)
        assert running.wait_exit() == 0
        assert not any(is_alive(pid) for pid in started())


def test_the_task_driver_learns_of_the_supervisors_death(tmp_path: Path) -> None:
    """The standard input of the driver ends when the supervisor is killed."""
    plan = plan_of(with_a_task(tmp_path), {"driver_folder": str(tmp_path)}, driver="e2e.process_driver")
    with supervised(plan, tmp_path) as running:
        (path,) = wait_for("the driver", lambda: list(tmp_path.glob("*.started")))
        running.process.kill()
        wait_for("its end", lambda: not is_alive(int(path.stem)))


def test_a_driver_that_finds_its_folder_held_waits_quietly(tmp_path: Path) -> None:
    """Exit code 78 is one clear line, no quick retries, and no reason to end."""
    source = {"driver_folder": str(tmp_path), "driver_exits": 78}
    with supervised(plan_of(with_a_task(tmp_path), source, driver="e2e.process_driver"), tmp_path) as running:
        running.wait_event("tasks wait: another process is working on the same data folder (data_dir)")
        assert running.get("/pid")[0] == 200
        assert len(list(tmp_path.glob("*.started"))) == 1


def test_a_plan_can_take_over_the_process_that_made_it(tmp_path: Path) -> None:
    """replace_process keeps the process id and leaves nothing of what was imported before."""
    plan = tmp_path / "plan.json"
    plan.write_bytes(msgspec.json.encode(plan_of()))
    code = (
        "import sys, msgspec, numpy\n"
        "from infergraph.process.supervisor import ServePlan, replace_process\n"
        "replace_process(msgspec.json.decode(open(sys.argv[1], 'rb').read(), type=ServePlan))\n"
    )
    errors = tmp_path / "errors"
    with errors.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(plan)],
            stderr=log,
            cwd=tmp_path,
            env=environment(),
        )
    running = Supervised(process, errors)
    try:
        running.ports = {name: port for name, port in running.wait_event("listening").items() if name in PORTS}
        running.wait_event("ready")
        assert "infergraph.process.supervisor" in command_of(process.pid)
        assert "numpy" not in Path(f"/proc/{process.pid}/maps").read_text()
        assert running.get("/pid")[0] == 200
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_the_supervisor_imports_nothing_heavy() -> None:
    """Neither numpy, gRPC, a web framework nor a metrics library is loaded with the supervisor."""
    code = "import sys, infergraph.process.supervisor\nprint(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    heavy = {
        "numpy",
        "grpc",
        "google.protobuf",
        "uvicorn",
        "starlette",
        "asyncio",
        "prometheus_client",
        "infergraph.wire.json_codec",
    }
    assert heavy.isdisjoint(names)


def test_reload_without_its_package_says_what_to_install(tmp_path: Path) -> None:
    """Source watching without watchfiles is exit 2 with the command that installs it."""
    (tmp_path / "watchfiles.py").write_text("raise ImportError('not here')")
    running = start(plan_of(reload_paths=(str(tmp_path),)), tmp_path, tmp_path)
    assert running.wait_exit() == 2
    assert "pip install 'infergraph[reload]'" in running.errors.read_text()


def test_a_terminal_sees_the_banner_and_its_closing_ends_the_service(tmp_path: Path) -> None:
    """On a terminal the banner shows the actual ports; when the terminal is closed, SIGHUP stops the service."""
    plan = plan_of({"log_format": "auto"}, banner="curl http://{host}:{http_port}/live")
    file = tmp_path / "plan.json"
    file.write_bytes(msgspec.json.encode(plan))
    code = (
        "import os, sys\n"
        "os.open(os.ttyname(0), os.O_RDWR)\n"  # the first terminal that a new session opens is its own
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "os.set_inheritable(fd, True)\n"
        "module = ['-P', '-m', 'infergraph.process.supervisor', '--plan-fd', str(fd)]\n"
        "os.execv(sys.executable, [sys.executable, *module])\n"
    )
    ours, theirs = pty.openpty()
    ends = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    command = [sys.executable, "-c", code, str(file)]
    process = subprocess.Popen(command, **ends, start_new_session=True, env=environment())
    os.close(theirs)
    text = ""
    while "curl http://127.0.0.1:" not in text:
        text += os.read(ours, 4096).decode()
    workers = children_of(process.pid)
    assert len(workers) == 1
    assert "{" not in text
    os.close(ours)
    assert process.wait(60) == 0
    assert not any(is_alive(worker) for worker in workers)
