"""The command `kidjamo-gateway`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from edge_gateway.commands import bracelets, outbox
from edge_gateway.config import Config
from edge_gateway.config_file import load_config
from edge_gateway.errors import GatewayError, InvalidConfig

OK, FAILURE, USAGE = 0, 1, 2

Command = Callable[[Config, argparse.Namespace], int]
AddCommand = Callable[[str, Command, str], argparse.ArgumentParser]

_EPILOG = "Exit codes: 0 success, 1 failure, 2 wrong usage or invalid configuration."
_DEFAULT_CONFIG = Path("gateway.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    logging.basicConfig(
        level=chosen.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for library in ("httpx", "httpcore", "bleak", "bumble", "asyncio", "uvicorn"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        config = load_config(chosen.config)
        return int(chosen.command(config, chosen))
    except InvalidConfig as error:
        return _complain(error, USAGE)
    except (GatewayError, sqlite3.Error) as error:
        return _complain(error, FAILURE)
    except BrokenPipeError:  # the reader closed the pipe, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kidjamo-gateway",
        description="Receives readings from bracelets over Bluetooth and MQTT, raises alarms locally, stores"
        " readings on disk and delivers them to the ingestion API.",
        epilog=_EPILOG,
    )
    parser.set_defaults(log_level="info")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('kidjamo')}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config",
        type=Path,
        default=_DEFAULT_CONFIG,
        metavar="FILE",
        help="configuration file (default: %(default)s); gateway.example.toml explains each setting",
    )
    for each in (parser, common):
        each.add_argument(
            "--log-level",
            default=argparse.SUPPRESS,
            choices=["debug", "info", "warning", "error"],
            help="least severe level to log on standard error (default: info)",
        )
    subparsers = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, command: Command, help_: str) -> argparse.ArgumentParser:
        added = subparsers.add_parser(
            name, parents=[common], help=help_, description=_sentence(help_), epilog=_EPILOG
        )
        added.set_defaults(command=command)
        return added

    add("run", _run, "run until SIGTERM or SIGINT; before it exits, the gateway stores everything received")
    add("check-config", _check, "check the configuration, print errors and warnings, and exit")
    _add_outbox(add)
    _add_operations(add)
    _add_bracelet_commands(add)
    return parser


def _sentence(help_: str) -> str:
    return f"{help_[0].upper()}{help_[1:]}."


def _add_outbox(add: AddCommand) -> None:
    command = add(
        "outbox",
        _outbox,
        "print how many readings are stored, delivered and pending; the gateway may be running",
    )
    command.add_argument(
        "what",
        nargs="?",
        choices=["rejected"],
        help="rejected: the latest readings that the API rejected, and why",
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def _add_operations(add: AddCommand) -> None:
    def operate(config: Config, chosen: argparse.Namespace) -> int:
        from edge_gateway.commands import operations  # imports alarms, which other commands do not need

        return operations.COMMANDS[chosen.operation](config, chosen)

    for name, help_ in (
        ("status", "print the state of the running gateway: components, outbox, children, open alarms"),
        ("doctor", "check everything the gateway depends on and print remedies; changes nothing"),
        ("self-test", "send a test message to every contact and print which ones failed"),
    ):
        command = add(name, operate, help_)
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(operation=name)


def _add_bracelet_commands(add: AddCommand) -> None:
    links = add("links", bracelets.links, "print the state of each bracelet's link, since when and why")
    links.add_argument("--json", action="store_true", help="print one JSON object")
    scan = add("scan", bracelets.scan, "list devices in range that offer vitals; the gateway may be running")
    scan.add_argument(
        "--seconds", type=float, default=5.0, metavar="S", help="how long to scan (default: %(default)s)"
    )
    scan.add_argument("--json", action="store_true", help="print one JSON list")
    pair = add("pair", bracelets.pair, "pair with a listed bracelet; the gateway may be running")
    forget = add(
        "forget", bracelets.forget, "delete a bracelet's bond and address; the gateway may be running"
    )
    for command in (pair, forget):
        command.add_argument("device", help="device_id of the bracelet, as in the configuration")


def _run(config: Config, _chosen: argparse.Namespace) -> int:
    for warning in config.warnings():
        logging.warning("%s", warning)
    asyncio.run(_until_signal(config))
    return OK


async def _until_signal(config: Config) -> None:
    from edge_gateway.gateway import run_gateway  # slow to import, and other commands do not need it

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_gateway(config, stop)


def _check(config: Config, _chosen: argparse.Namespace) -> int:
    if config.page:
        config.page.check()
    for warning in config.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    sources = [name for name in ("mqtt", "ble") if getattr(config, name)]
    listed = f"{len(config.bracelet)} bracelets over {' and '.join(sources)}"
    print(f"gateway {config.gateway_id}: {listed}, delivers to {config.api.url}")
    return OK


def _outbox(config: Config, chosen: argparse.Namespace) -> int:
    return (outbox.rejected if chosen.what else outbox.show)(config, as_json=chosen.json)


def _complain(error: Exception, code: int) -> int:
    print(f"kidjamo-gateway: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
