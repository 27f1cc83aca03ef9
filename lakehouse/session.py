"""A Spark session for a small machine, and checks that give readable errors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from delta import configure_spark_with_delta_pip
from pyspark.sql import SparkSession

from lakehouse.errors import UnsuitableMachine

JAVA_AT_LEAST = 17
PYSPARK = "4.2.0"
DELTA = "4.4.0"
KAFKA_CONNECTOR = f"org.apache.spark:spark-sql-kafka-0-10_2.13:{PYSPARK}"
SHUFFLE_PARTITIONS = 2
"""Fixed in each checkpoint by its first run."""

_SETTINGS: dict[str, bool | float | int | str | None] = {
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -Dfile.encoding=UTF-8",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": str(SHUFFLE_PARTITIONS),
    "spark.default.parallelism": str(SHUFFLE_PARTITIONS),
    # Microseconds instead of INT96: they have statistics, so that readers can skip row groups.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Spark would record the Python line of every column operation: 1.3 s per update of the windows.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # Stages have few rows: replanning them took a tenth of each micro-batch.
    "spark.sql.adaptive.enabled": "false",
    # Micro-batches are small and their plans wide: compiling took longer than running them interpreted
    # (an update of the windows 5.2 s instead of 8.1 s, an append 0.8 s instead of 1.1 s).
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.streaming.stopTimeout": "10s",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.databricks.delta.autoCompact.enabled": "true",
    # Limits the size of the files that a merge into the windows rewrites.
    "spark.databricks.delta.autoCompact.maxFileSize": str(32 * 1024 * 1024),
}


def ivy_dir() -> Path:
    """Return the directory of Spark's jars: $XDG_CACHE_HOME/kidjamo/ivy, by default under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kidjamo" / "ivy"


def _manifest() -> Path:
    """Return the file with the names of all resolved jars: later starts need neither Ivy nor network."""
    return ivy_dir() / f"delta-{DELTA}-spark-{PYSPARK}.jars"


def cached_jars() -> list[Path]:
    """Return the jars of this Delta and Kafka connector version; empty unless all are on this machine."""
    if not _manifest().exists():
        return []
    jars = [ivy_dir() / "jars" / name for name in _manifest().read_text().split()]
    return jars if all(jar.exists() for jar in jars) else []


def jars_are_fetched() -> bool:
    """Return whether Spark can start without the network."""
    return bool(cached_jars())


def fetch_jars() -> None:
    """Fetch the jars by starting and stopping a session.

    Raises:
        UnsuitableMachine: no suitable Java, or the jars could not be fetched.
    """
    create("kidjamo-fetch").stop()


def create(name: str, memory_mb: int = 1536) -> SparkSession:
    """Start Spark with Delta and the Kafka connector.

    Args:
        name: name of the Spark application.
        memory_mb: Java heap; the process needs about 700 MB more.

    Raises:
        UnsuitableMachine: Java, pyspark or delta-spark is missing or has the wrong version, or the jars could
            not be fetched.
    """
    check_machine()
    builder = SparkSession.builder.appName(name).master("local[2]")
    builder = builder.config(map=_SETTINGS).config("spark.driver.memory", f"{memory_mb}m")
    builder = builder.config("spark.jars.ivy", str(ivy_dir()))
    try:
        if jars := cached_jars():
            session: SparkSession = builder.config("spark.jars", ",".join(map(str, jars))).getOrCreate()
        else:
            session = configure_spark_with_delta_pip(builder, [KAFKA_CONNECTOR]).getOrCreate()
            _remember_jars(session)
    except Exception as error:
        raise UnsuitableMachine(
            f"Spark did not start: {error}. The first start fetches jars from Maven Central, see above."
        ) from error
    session.sparkContext.setLogLevel("ERROR")
    _quiet(session, "org.apache.spark.sql.execution.streaming")
    return session


def _quiet(session: SparkSession, logger: str) -> None:
    """Silence a Spark logger: the lake reports how a streaming query ends without a Java stack trace."""
    jvm: Any = session._jvm
    levels = jvm.org.apache.logging.log4j
    levels.core.config.Configurator.setLevel(logger, levels.Level.OFF)


def _remember_jars(session: SparkSession) -> None:
    jars = session.sparkContext.getConf().get("spark.jars", "") or ""
    names = [Path(jar).name for jar in jars.split(",") if jar]
    scratch = _manifest().with_suffix(f".{os.getpid()}")
    scratch.write_text("".join(f"{name}\n" for name in names))
    scratch.replace(_manifest())


def check_machine() -> None:
    """Check Java, pyspark and delta-spark.

    Raises:
        UnsuitableMachine: the message says what is installed, what is needed and how to install it.
    """
    check_java(java_version())
    for package, needed in (("pyspark", PYSPARK), ("delta-spark", DELTA)):
        check_package(package, needed)


def check_java(found: int | None) -> None:
    """Check a Java's major version.

    Raises:
        UnsuitableMachine: Java is missing or too old.
    """
    if found is not None and found >= JAVA_AT_LEAST:
        return
    problem = "Java is missing" if found is None else f"Java {found} is too old"
    raise UnsuitableMachine(
        f"{problem}: Spark needs Java {JAVA_AT_LEAST} or newer. Install it (Debian, Ubuntu: sudo apt-get "
        "install openjdk-17-jre-headless) or set JAVA_HOME."
    )


def check_package(package: str, needed: str) -> None:
    """Check the version of an installed package; versions of Spark, Delta and the connector must match.

    Raises:
        UnsuitableMachine: the package is missing or has another version.
    """
    try:
        installed = version(package)
    except PackageNotFoundError:
        raise UnsuitableMachine(f"{package} is missing: pip install 'kidjamo[lake]'") from None
    if installed != needed:
        raise UnsuitableMachine(
            f"{package} {installed} is installed, {needed} is needed: pip install {package}=={needed}"
        )


def java_version() -> int | None:
    """Return the major version of the Java that Spark would start, or None."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if java is None:
        return None
    text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    return parse_java_version(text)


def parse_java_version(text: str) -> int | None:
    """Return the major version in the output of `java -version`; 1.8 is 8."""
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found[1]) if found else None
