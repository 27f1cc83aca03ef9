"""The command line of `kidjamo-sim`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from firmware_sim.faults.scenario_file import FILE_FORMAT_HELP
from firmware_sim.plan import Address
from firmware_sim.radio.standard_device import StandardDeviceKind

_DEFAULT_BLE, _DEFAULT_MQTT = 3, 2


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; exit with 2 on wrong usage and with 0 after `--help`."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "bracelets":
        options.ble, options.mqtt = _how_many(options)
    if options.command == "scenarios":
        return options
    ends = options.duration or (options.command == "readings" and options.count)
    if options.speed > 1 and not (options.start or ends):
        parser.error(
            "--speed above 1 needs --duration, --count or --start, so that no reading is in the future"
        )
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kidjamo-sim",
        description="Simulates bracelets of made-up children. For research and education; the data are not "
        "clinical evidence.",
        epilog="Exit codes: 0 finished or stopped by a signal, 1 failure, 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('kidjamo')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_bracelet_options(
        commands.add_parser(
            "bracelets",
            help="simulate Bluetooth and MQTT bracelets for a gateway to connect to",
            description="Simulates bracelets that measure, store and send like real ones. On SIGTERM or "
            "SIGINT they stop measuring and keep sending until all readings are acknowledged; a second "
            "signal stops them at once.",
        )
    )
    commands.add_parser(
        "scenarios",
        help="describe the format of scenario files",
        description=FILE_FORMAT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_reading_options(
        commands.add_parser(
            "readings",
            help="send readings straight to the API, an MQTT broker, Kafka, or both API and Kafka",
            description="The simple simulator: children in four scenarios (normal 70 %, stress 15 %, "
            "activity 10 %, crisis 5 %), one reading per child and period. An unavailable target is retried.",
        )
    )
    return parser


def _add_bracelet_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ble", type=_count, metavar="N", help="Bluetooth bracelets, ble-001 and so on (default: 3)"
    )
    parser.add_argument(
        "--mqtt", type=_count, metavar="N", help="MQTT bracelets, mqtt-001 and so on (default: 2)"
    )
    parser.add_argument(
        "--count", type=_count, metavar="N", help="total number of bracelets, instead of --ble and --mqtt"
    )
    parser.add_argument(
        "--transport",
        choices=("ble", "mqtt", "both"),
        default="both",
        help="transport of the bracelets of --count; both: half of each (default: %(default)s)",
    )
    parser.add_argument(
        "--hci",
        default="tcp-server:127.0.0.1:9544",
        metavar="SPEC",
        help="where the gateway's Bluetooth stack connects, tcp-server:ADDRESS:PORT or unix-server:PATH; "
        'set radio = "bumble:tcp-client:ADDRESS:PORT" in the gateway (default: %(default)s)',
    )
    parser.add_argument(
        "--scenario",
        type=Path,
        metavar="FILE",
        help="TOML file with the faults to inject; kidjamo-sim scenarios describes the format",
    )
    parser.add_argument(
        "--standard",
        type=_kinds,
        default=(),
        metavar="KIND,…",
        help=f"standard devices to simulate as well: {', '.join(StandardDeviceKind)}; their addresses are "
        "logged",
    )
    parser.add_argument(
        "--secure",
        action="store_true",
        help="send vitals only over links paired with LE Secure Connections",
    )
    parser.add_argument(
        "--drift-ppm",
        type=float,
        metavar="PPM",
        help="how much too fast the bracelets' clocks run (default: random for each, within ± 50)",
    )
    _add_common(parser)


def _add_reading_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        choices=("api", "mqtt", "kafka", "both"),
        default="api",
        help="where to send; both: API and Kafka (default: %(default)s)",
    )
    parser.add_argument(
        "--url", default="http://127.0.0.1:8001", help="base URL of the API (default: %(default)s)"
    )
    parser.add_argument(
        "--client-id", metavar="ID", help="client id registered with the API, if it requires authentication"
    )
    parser.add_argument("--client-secret-file", type=Path, metavar="PATH", help="file with the client secret")
    parser.add_argument(
        "--bootstrap",
        default=os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
        metavar="HOST:PORT",
        help="Kafka brokers; patient identifiers are pseudonymised with PSEUDONYM_KEY_FILE unless "
        "PSEUDONYMISATION=off (default: KAFKA_BOOTSTRAP_SERVERS, else 127.0.0.1:9092)",
    )
    parser.add_argument(
        "--patients", type=_some, default=3, metavar="N", help="number of children (default: %(default)s)"
    )
    parser.add_argument("--count", type=_some, metavar="N", help="stop after this many readings")
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mqtt-broker",
        type=_address,
        default="127.0.0.1:1883",
        metavar="HOST:PORT",
        help="MQTT broker (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=7, help="the same seed gives the same values (default: %(default)s)"
    )
    parser.add_argument(
        "--period",
        type=_positive,
        default=1.0,
        metavar="S",
        help="simulated seconds between two readings of a bracelet (default: %(default)s)",
    )
    parser.add_argument(
        "--speed",
        type=_positive,
        default=1.0,
        metavar="X",
        help="simulated seconds per real second; above 1, give --duration, --count or --start, so that no "
        "reading is in the future (default: %(default)s)",
    )
    parser.add_argument(
        "--start",
        type=_moment,
        metavar="TIME",
        help="simulated start time, ISO 8601 (default: now, or early enough for a fast run to end now)",
    )
    parser.add_argument(
        "--duration", type=_positive, metavar="S", help="real seconds of measuring (default: until stopped)"
    )
    parser.add_argument(
        "--drain-seconds",
        type=_not_negative,
        default=15.0,
        metavar="S",
        help="longest wait at the end for readings to be acknowledged (default: %(default)s)",
    )
    parser.add_argument(
        "--ledger",
        type=Path,
        metavar="PATH",
        help="append each measured reading to this file as a line of JSON",
    )
    parser.add_argument("--verbose", action="store_true", help="log everything, including Bluetooth packets")


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, as in 127.0.0.1:1883")
    return Address(host, int(port))


def _kinds(text: str) -> tuple[StandardDeviceKind, ...]:
    try:
        return tuple(StandardDeviceKind(name.strip()) for name in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected one or more of {', '.join(StandardDeviceKind)}"
        ) from None


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not ISO 8601, as in 2025-08-24T10:30:00Z") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _number(text: str, least: float, what: str, *, included: bool) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (least <= value if included else least < value) or value == float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def _positive(text: str) -> float:
    return _number(text, 0, "a number above 0", included=False)


def _not_negative(text: str) -> float:
    return _number(text, 0, "a number of at least 0", included=True)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 65000")
    return int(text)


def _some(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _how_many(options: argparse.Namespace) -> tuple[int, int]:
    """Return the numbers of Bluetooth and MQTT bracelets."""
    if options.count is None:
        if options.ble is None and options.mqtt is None:
            return (0, 0) if options.standard else (_DEFAULT_BLE, _DEFAULT_MQTT)
        return options.ble or 0, options.mqtt or 0
    match options.transport:
        case "ble":
            return options.count, 0
        case "mqtt":
            return 0, options.count
    return options.count - options.count // 2, options.count // 2
