"""The command `kidjamo-ingest`: help, exit codes, interruption and shutdown."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from cloud_ingest.access.registry import Registry
from cloud_ingest.api.server import listen
from cloud_ingest.cli import main
from cloud_ingest.delivery.spool import Spool
from cloud_ingest.ingest.dead_letters import StoredDeadLetter
from cloud_ingest.settings import Settings
from deploy.local.kafka import KafkaBroker
from tests.cloud_ingest.running import NOWHERE, ServedApi, environment, register
from tests.cloud_ingest.samples import reading
from tests.waiting import PATIENCE_S, wait_until


@pytest.fixture
def set_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set environment variables; restore the signal handlers that a command replaced."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def set_variables(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    yield set_variables
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "command",
    [
        "serve",
        "recorder",
        "alarms",
        "migrate",
        "topics",
        "gateway",
        "keys",
        "replay-errors",
        "erase",
        "rekey",
        "pseudonym-key",
    ],
)
def test_help_of_each_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 3


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"kidjamo-ingest {version('kidjamo')}\n"


def test_wrong_usage_exits_with_2() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fly"])
    assert ended.value.code == 2


def test_unsafe_settings_exit_with_2(
    set_environment: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    set_environment(API_HOST="0.0.0.0")
    assert main(["serve"]) == 2
    assert "API_AUTH=on" in capsys.readouterr().err


def test_interrupted_command_exits_with_130_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = "{}:{}".format(*silent.getsockname())
        waiting = subprocess.Popen(
            [sys.executable, "-m", "cloud_ingest.cli", "topics"],
            env=os.environ | {"KAFKA_BOOTSTRAP_SERVERS": address},
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.settimeout(PATIENCE_S)
        with silent.accept()[0]:
            waiting.send_signal(signal.SIGINT)
            assert "Traceback" not in waiting.communicate(timeout=PATIENCE_S)[1]
        assert waiting.returncode == 130


def test_interrupt_while_loading_exits_with_130(
    set_environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_settings: Settings) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("cloud_ingest.api.server.serve", interrupt)
    assert main(["serve"]) == 130
    loaded = "import sys, cloud_ingest.cli; print('pydantic' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", loaded], text=True) == "False\n"


def test_interrupted_replay_stops_reading(
    tmp_path: Path, set_environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def letters(_bootstrap: str) -> Iterator[StoredDeadLetter]:
        signal.raise_signal(signal.SIGINT)
        pytest.fail("continued to read")
        yield

    monkeypatch.setattr("cloud_ingest.ingest.replay.read_dead_letters", letters)
    set_environment(**environment(tmp_path, NOWHERE))
    assert main(["replay-errors", "--dry-run"]) == 130


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("command", "code"), [("gateway list", 141), ("--help", 0)])
def test_closed_output_exits_without_an_error_message(
    tmp_path: Path, command: str, code: int, unbuffered: str
) -> None:
    variables = environment(tmp_path, NOWHERE, PYTHONUNBUFFERED=unbuffered)
    register(variables, "gw-1")
    reader, writer = os.pipe()
    os.close(reader)
    ended = ended_with(variables, command, writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (code, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_disk_is_reported_in_one_line(tmp_path: Path, unbuffered: str) -> None:
    variables = environment(tmp_path, NOWHERE, PYTHONUNBUFFERED=unbuffered)
    register(variables, "gw-1")
    with Path("/dev/full").open("w") as full:
        ended = ended_with(variables, "gateway list", full)
    assert ended.returncode == 1
    assert ended.stderr == "kidjamo-ingest: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_gateway_is_revoked_where_its_secret_cannot_be_printed(tmp_path: Path, unbuffered: str) -> None:
    variables = environment(tmp_path, NOWHERE, PYTHONUNBUFFERED=unbuffered)
    with Path("/dev/full").open("w") as full:
        ended = ended_with(variables, "gateway add gw-1 --all-devices", full)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[1:] == [
        "kidjamo-ingest: gw-1 is revoked again, because its secret could not be printed: "
        "[Errno 28] No space left on device"
    ]
    assert Registry.open(tmp_path / "gateways.json").active("gw-1") is None
    assert '"gateway_revoked"' in (tmp_path / "audit.jsonl").read_text()
    ended = ended_with(variables, "gateway add gw-1 --all-devices", subprocess.PIPE)
    assert ended.returncode == 0


def ended_with(variables: dict[str, str], command: str, stdout: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cloud_ingest.cli", *command.split()],
        env=os.environ | variables,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("host", ["\u00e9.x..y", "\u00e9" * 70])
def test_invalid_host_name_exits_with_1(
    tmp_path: Path, host: str, set_environment: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    set_environment(**environment(tmp_path, NOWHERE, API_HOST=host, API_AUTH="on"))
    assert main(["serve"]) == 1
    assert capsys.readouterr().err == f"kidjamo-ingest: cannot listen on {host}: not a valid host name\n"


def test_unavailable_servers_exit_with_1(
    set_environment: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    set_environment(PGHOST="127.0.0.1", PGPORT="1", PGPASSWORD="s3cret", KAFKA_BOOTSTRAP_SERVERS=NOWHERE)
    assert main(["migrate"]) == 1
    assert main(["topics"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "s3cret" not in "".join(errors)


def test_serve_on_a_busy_port(
    tmp_path: Path, set_environment: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        set_environment(**environment(tmp_path, NOWHERE, API_PORT=str(port)))
        assert main(["serve"]) == 1
        assert "API_PORT_AUTOFALLBACK" in capsys.readouterr().err
        settings = Settings.from_environment({"API_PORT": str(port), "API_PORT_AUTOFALLBACK": "true"})
        with listen(settings) as found:
            assert port < found.getsockname()[1] <= port + 50


def test_recorder_without_servers_retries_and_stops_cleanly(tmp_path: Path) -> None:
    variables = environment(tmp_path, NOWHERE, PGHOST="127.0.0.1", PGPORT="1")
    log = tmp_path / "recorder.log"
    with log.open("w") as stderr:
        recorder = subprocess.Popen(
            [sys.executable, "-m", "cloud_ingest.cli", "recorder"], env=os.environ | variables, stderr=stderr
        )
    try:
        assert wait_until(lambda: "retrying" in log.read_text())
        recorder.terminate()
        assert recorder.wait(PATIENCE_S) == 0
    finally:
        recorder.kill()
        recorder.wait()


def test_stop_finishes_running_requests(tmp_path: Path) -> None:
    with ServedApi(environment(tmp_path, NOWHERE), tmp_path) as api:
        assert api.http.get("/health").status_code == 200
        codes: list[int] = []
        body = {"readings": [reading() for _ in range(3000)]}
        sender = threading.Thread(
            target=lambda: codes.append(api.http.post("/iot/measurements", json=body).status_code)
        )
        sender.start()
        time.sleep(0.2)
        assert api.stop() == 0
        sender.join()
        assert codes == [200]


def test_serve_never_logs_a_patient_identifier(tmp_path: Path) -> None:
    with ServedApi(environment(tmp_path, NOWHERE), tmp_path) as api:
        for document in (reading(), reading(seq="x"), reading(timestamp="2999-01-01T00:00:00Z")):
            api.http.post("/iot/measurements", json=document)
        assert api.stop() == 0
    written = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())
    assert b"patient-001-ss" not in written
    assert b"bracelet-001" in written


def test_two_servers_cannot_share_a_spool(
    tmp_path: Path,
    set_environment: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    variables = environment(tmp_path, NOWHERE)
    set_environment(**variables)
    spool = Spool(tmp_path / "spool", 2**20)
    assert main(["serve"]) == 1
    assert f"SPOOL_PATH {tmp_path / 'spool'}: another process uses this spool" in caplog.text
    assert "Traceback" not in caplog.text
    assert "listens" not in capsys.readouterr().out
    spool.close()


def test_topics_creates_and_lists_the_topics(
    kafka: KafkaBroker, set_environment: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    set_environment(KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap)
    main(["topics"])
    capsys.readouterr()
    assert main(["topics"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "kidjamo-iot-measurements  3 partitions",
        "kidjamo-iot-alerts  3 partitions",
        "kidjamo-iot-device-status  3 partitions",
        "kidjamo-iot-errors  3 partitions",
    ]
