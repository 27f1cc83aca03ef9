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
from pathlib import Path

from edge_gateway.commands import bracelets as bracelet_commands
from edge_gateway.commands import outbox
from edge_gateway.config import Config, load_config
from edge_gateway.errors import GatewayError, InvalidConfig

OK, FAILURE, USAGE = 0, 1, 2

_EPILOG = "Exit codes: 0 ended as asked, 1 failure, 2 wrong usage or configuration."
_DEFAULT_CONFIG = Path("gateway.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    logging.basicConfig(
        level=chosen.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for talkative in ("httpx", "httpcore", "bleak", "bumble", "asyncio", "uvicorn"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    try:
        config = load_config(chosen.config)
        return int(chosen.command(config, chosen))
    except InvalidConfig as error:
        return _complain(error, USAGE)
    except (GatewayError, sqlite3.Error) as error:
        return _complain(error, FAILURE)
    except BrokenPipeError:  # whoever reads has seen enough, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kidjamo-gateway",
        description="Takes readings of bracelets over Bluetooth and MQTT, raises alarms on the spot, keeps"
        " readings on disk and delivers them to the ingestion API.",
        epilog=_EPILOG,
    )
    parser.set_defaults(log_level="info")
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
            help="how much to log on standard error (default: info)",
        )
    commands = parser.add_subparsers(required=True, metavar="command")
    run_help = "run until SIGTERM or SIGINT; then sources stop and what they took is made durable"
    run = commands.add_parser("run", parents=[common], help=run_help, description=run_help, epilog=_EPILOG)
    run.set_defaults(command=_run)
    check_help = "check the configuration, say what is wrong or odd, and exit"
    check = commands.add_parser("check-config", parents=[common], help=check_help, description=check_help)
    check.set_defaults(command=_check)
    outbox_help = "say how many readings were kept, delivered and are pending; also while the gateway runs"
    outbox = commands.add_parser("outbox", parents=[common], help=outbox_help, description=outbox_help)
    outbox.add_argument(
        "what", nargs="?", choices=["rejected"], help="rejected: the readings the API refused last, and why"
    )
    outbox.add_argument("--json", action="store_true", help="as JSON")
    outbox.set_defaults(command=_outbox)
    _add_operations(commands, common)
    _add_bracelet_commands(commands, common)
    return parser


def _add_operations(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    def operate(config: Config, chosen: argparse.Namespace) -> int:
        from edge_gateway.commands import (
            operations,  # brings the alarms along, which other commands do not need
        )

        return operations.COMMANDS[chosen.operation](config, chosen)

    for name, help_ in (
        ("status", "say how the running gateway is: parts, outbox, children, open alarms"),
        ("doctor", "check everything the gateway depends on, and say what to do; changes nothing"),
        ("self-test", "send every contact a test message, and say which could not be sent"),
    ):
        command = commands.add_parser(name, parents=[common], help=help_, description=help_, epilog=_EPILOG)
        command.add_argument("--json", action="store_true", help="as JSON")
        command.set_defaults(command=operate, operation=name)


def _add_bracelet_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    def add(
        name: str, do: Callable[[Config, argparse.Namespace], int], help_: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, parents=[common], help=help_, description=help_, epilog=_EPILOG)
        command.set_defaults(command=do)
        return command

    links = add("links", bracelet_commands.links, "say how each bracelet's link is, since when and why")
    links.add_argument("--json", action="store_true", help="as one JSON object")
    scan = add(
        "scan", bracelet_commands.scan, "say which devices on the air offer vitals, also while it runs"
    )
    scan.add_argument(
        "--seconds", type=float, default=5.0, metavar="S", help="how long to listen (default: %(default)s)"
    )
    scan.add_argument("--json", action="store_true", help="as one JSON list")
    pair = add("pair", bracelet_commands.pair, "bond with a bracelet of the list, also while it runs")
    forget = add(
        "forget", bracelet_commands.forget, "remove a bracelet's bond and address, also while it runs"
    )
    for command in (pair, forget):
        command.add_argument("device", help="device_id of the bracelet, as in the configuration")


def _run(config: Config, _chosen: argparse.Namespace) -> int:
    for warning in config.warnings():
        logging.warning("%s", warning)
    asyncio.run(_until_signal(config))
    return OK


async def _until_signal(config: Config) -> None:
    from edge_gateway.gateway import run_gateway  # the other commands need none of it

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
    print(f"gateway {config.gateway_id}: {listed}, to {config.api.url}")
    return OK


def _outbox(config: Config, chosen: argparse.Namespace) -> int:
    return (outbox.rejected if chosen.what else outbox.show)(config, as_json=chosen.json)


def _complain(error: Exception, code: int) -> int:
    print(f"kidjamo-gateway: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
