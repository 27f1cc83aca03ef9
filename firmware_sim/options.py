"""The command line of `kidjamo-sim`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from firmware_sim.faults.scenario_file import HOW_TO_WRITE_ONE
from firmware_sim.plan import Address
from firmware_sim.radio.standard_device import StandardDeviceKind

_DEFAULT_BLE, _DEFAULT_MQTT = 3, 2


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; ends the process with 2 where it is wrong, 0 after `--help`."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "bracelets":
        options.ble, options.mqtt = _how_many(options)
    if options.command == "scenarios":
        return options
    ends = options.duration or (options.command == "readings" and options.count)
    if options.speed > 1 and not (options.start or ends):
        parser.error("--speed above 1 needs --duration, --count or --start: no reading of the future")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kidjamo-sim",
        description="Simulated bracelets of made-up children. Research and education: no clinical evidence.",
        epilog="Exit codes: 0 done or stopped by a signal, 1 failure, 2 wrong usage.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_bracelets(commands)
    _add_scenarios(commands)
    _add_readings(commands)
    return parser


def _add_bracelets(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "bracelets",
        help="put bracelets on the air, Bluetooth and MQTT, for a gateway to find",
        description="Bracelets that measure, store and send as real ones. SIGTERM or SIGINT: they stop "
        "measuring and stay on the air until all they hold was taken; a second signal ends them at once.",
    )
    parser.add_argument("--ble", type=_count, metavar="N", help="Bluetooth bracelets, ble-001 and so on (3)")
    parser.add_argument("--mqtt", type=_count, metavar="N", help="MQTT bracelets, mqtt-001 and so on (2)")
    parser.add_argument(
        "--count", type=_count, metavar="N", help="bracelets in all, instead of --ble, --mqtt"
    )
    parser.add_argument(
        "--transport",
        choices=("ble", "mqtt", "both"),
        default="both",
        help="what the bracelets of --count speak; both: half each (%(default)s)",
    )
    parser.add_argument(
        "--hci",
        default="tcp-server:127.0.0.1:9544",
        metavar="SPEC",
        help="where the gateway's Bluetooth plugs in, tcp-server:ADDRESS:PORT or unix-server:PATH; the "
        'gateway says radio = "bumble:tcp-client:ADDRESS:PORT" (%(default)s)',
    )
    parser.add_argument(
        "--scenario",
        type=Path,
        metavar="FILE",
        help="TOML file with what befalls which bracelet when; kidjamo-sim scenarios tells what there is",
    )
    parser.add_argument(
        "--standard",
        type=_kinds,
        default=(),
        metavar="KIND,…",
        help=f"bought devices beside them, of {', '.join(StandardDeviceKind)}; their addresses are logged",
    )
    parser.add_argument(
        "--secure",
        action="store_true",
        help="Bluetooth vitals only over links that were paired with LE Secure Connections",
    )
    parser.add_argument(
        "--drift-ppm",
        type=float,
        metavar="PPM",
        help="how much too fast the bracelets' clocks run (each its own, within ± 50)",
    )
    _add_common(parser)


def _add_scenarios(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    commands.add_parser(
        "scenarios",
        help="tell what a scenario file can hold",
        description=HOW_TO_WRITE_ONE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_readings(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "readings",
        help="send readings straight to the API, an MQTT broker, Kafka, or API and Kafka",
        description="The simple simulator: children in four scenarios (normal 70 %, stress 15 %, activity "
        "10 %, crisis 5 %), one reading a child and period. A target that is away is tried again.",
    )
    parser.add_argument(
        "--target",
        choices=("api", "mqtt", "kafka", "both"),
        default="api",
        help="both: API and Kafka (%(default)s)",
    )
    parser.add_argument(
        "--url", default="http://127.0.0.1:8001", help="base address of the API (%(default)s)"
    )
    parser.add_argument(
        "--client-id", metavar="ID", help="name the API knows the simulator by, where it wants one"
    )
    parser.add_argument(
        "--client-secret-file", type=Path, metavar="PATH", help="file with the secret of that name"
    )
    parser.add_argument(
        "--bootstrap",
        default=os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
        metavar="HOST:PORT",
        help="Kafka; patients' identifiers are pseudonymised with PSEUDONYM_KEY_FILE, unless "
        "PSEUDONYMISATION=off (KAFKA_BOOTSTRAP_SERVERS, else 127.0.0.1:9092)",
    )
    parser.add_argument("--patients", type=_some, default=3, metavar="N", help="children (%(default)s)")
    parser.add_argument("--count", type=_some, metavar="N", help="stop after this many readings")
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mqtt-broker",
        type=_address,
        default="127.0.0.1:1883",
        metavar="HOST:PORT",
        help="MQTT broker (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=7, help="same seed, same values (%(default)s)")
    parser.add_argument(
        "--period",
        type=_positive,
        default=1.0,
        metavar="S",
        help="simulated seconds between two readings of a bracelet (%(default)s)",
    )
    parser.add_argument(
        "--speed",
        type=_positive,
        default=1.0,
        metavar="X",
        help="simulated seconds in a real one; above 1, give --duration, --count or --start, so that no "
        "reading is from the future (%(default)s)",
    )
    parser.add_argument(
        "--start",
        type=_moment,
        metavar="TIME",
        help="simulated time to begin at, ISO 8601 (now, or so long ago that a fast run ends now)",
    )
    parser.add_argument(
        "--duration", type=_positive, metavar="S", help="real seconds of measuring (until stopped)"
    )
    parser.add_argument(
        "--drain-seconds",
        type=_not_negative,
        default=15.0,
        metavar="S",
        help="longest stay after the end, for what nobody has taken yet (%(default)s)",
    )
    parser.add_argument("--ledger", type=Path, metavar="PATH", help="append each reading as a line of JSON")
    parser.add_argument("--verbose", action="store_true", help="log everything, Bluetooth packets included")


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
            f"{text!r}: expected some of {', '.join(StandardDeviceKind)}"
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
    return _number(text, 0, "a number from 0 on", included=True)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 65000")
    return int(text)


def _some(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _how_many(options: argparse.Namespace) -> tuple[int, int]:
    """Numbers of Bluetooth and of MQTT bracelets."""
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
