"""A Kafka broker: one KRaft node on loopback, with jars fetched once from Maven Central."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from deploy.local.cache import cache_dir
from deploy.local.ports import LOOPBACK, free_port, is_listening
from deploy.local.process import START_LIMIT_S, Service, ServiceError

VERSION = "4.4.0"
_IVY_FILE = Path(__file__).with_name("kafka-ivy.xml")


def is_fetched() -> bool:
    """Return whether the jars have been fetched."""
    return _target().is_dir()


def _target() -> Path:
    return cache_dir() / f"kafka-{VERSION}"


def jars() -> Path:
    """Return the directory of the broker's jars; fetch them if they are missing.

    Raises:
        ServiceError: Java is missing, or Maven Central cannot be reached.
    """
    target = _target()
    if is_fetched():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        pattern = f"{scratch}/jars/[artifact]-[revision].[ext]"
        _java(
            "-cp", str(_ivy_jar()), "org.apache.ivy.Main", "-m2compatible", "-cache", f"{scratch}/ivy",
            "-ivy", str(_IVY_FILE), "-confs", "default", "-types", "jar", "bundle",
            "-retrieve", pattern, "-error",
        )  # fmt: skip
        shutil.rmtree(target, ignore_errors=True)
        Path(scratch, "jars").rename(target)
    return target


def _ivy_jar() -> Path:
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise ServiceError("pyspark is not installed: pip install 'kidjamo[lake]'")
    return next(Path(spec.origin).parent.glob("jars/ivy-*.jar"))


def _java(*arguments: str) -> None:
    try:
        subprocess.run(["java", *arguments], check=True, capture_output=True, text=True, timeout=300)
    except FileNotFoundError:
        raise ServiceError("Java is missing: sudo apt-get install openjdk-17-jre-headless") from None
    except subprocess.CalledProcessError as error:
        raise ServiceError(f"java {' '.join(arguments[:4])} …: {error.stdout}\n{error.stderr}") from None


class KafkaBroker:
    """One broker with its data in `directory`; data survive a stop, a kill and a restart.

    Args:
        directory: data, configuration and log.
        port: loopback port for clients; by default any free one.
        heap_mb: Java heap.
    """

    def __init__(self, directory: Path, port: int | None = None, heap_mb: int = 384) -> None:
        self.directory, self.port = directory, port or free_port()
        self._controller_port = free_port()
        self._config = directory / "server.properties"
        self.service = Service(
            "Kafka",
            [
                "java", f"-Xmx{heap_mb}m", f"-Xms{heap_mb // 2}m",
                "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.apache.logging.log4j.level=WARN",
                "-cp", f"{jars()}/*", "kafka.Kafka", str(self._config),
            ],
            log=directory / "kafka.log",
        )  # fmt: skip

    @property
    def bootstrap(self) -> str:
        """Bootstrap servers for clients."""
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Format the storage if it is new, start, and wait until clients can connect.

        Raises:
            ServiceError: it did not start.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._config.write_text(self._properties())
        if not (self.directory / "data" / "meta.properties").exists():
            _java(
                "-cp", f"{jars()}/*", "kafka.tools.StorageTool", "format", "--standalone",
                "-t", _cluster_id(), "-c", str(self._config),
            )  # fmt: skip
        self.service.start()
        self.service.wait_until(lambda: is_listening(self.port), START_LIMIT_S)

    def stop(self) -> None:
        """Stop cleanly."""
        self.service.stop()

    def kill(self) -> None:
        """Kill the process, like a power cut."""
        self.service.kill()

    def _properties(self) -> str:
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{self._controller_port}",
            "listeners": f"PLAINTEXT://{LOOPBACK}:{self.port},CONTROLLER://{LOOPBACK}:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": self.directory / "data",
            "num.partitions": 3,
            "offsets.topic.num.partitions": 3,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.num.partitions": 3,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "controlled.shutdown.enable": "false",
            # A killed broker can rejoin once its old session has expired.
            "broker.heartbeat.interval.ms": 500,
            "broker.session.timeout.ms": 3000,
            "log.retention.hours": 168,
            "num.network.threads": 2,
            "num.io.threads": 4,
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


def _cluster_id() -> str:
    return uuid.uuid4().hex[:22]
