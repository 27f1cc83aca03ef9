"""The command `kidjamo-sim`: simulates bracelets, or sends readings straight to a service."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_sim.errors import SimulatorError
from firmware_sim.faults.scenario_file import FILE_FORMAT_HELP, load_scenario
from firmware_sim.options import parse
from firmware_sim.plan import FleetPlan
from firmware_sim.timeline import Timeline
from vitals.errors import InvalidPseudonymKey
from vitals.pseudonym import ClearIdentifiers, Pseudonymiser, parse_keys

if TYPE_CHECKING:
    from firmware_sim.targets import Target

log = logging.getLogger(__name__)

OK, FAILURE = 0, 1
_PROGRESS_S = 5.0


class _StopSignals:
    """Signal handler: the first signal sets `stop`, the second sets `abort`."""

    def __init__(self) -> None:
        self.stop, self.abort = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        (self.abort if self.stop.is_set() else self.stop).set()

    async def end_of_draining(self, drain_s: float) -> None:
        """Wait until stopped, then for as long as draining may take."""
        await self.stop.wait()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.abort.wait(), drain_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point.

    Returns:
        0 on success, 1 on failure; argparse exits with 2 on wrong usage.
    """
    options = parse(arguments)
    if options.command == "scenarios":
        print(FILE_FORMAT_HELP)
        return OK
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for library in ("bumble", "httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.DEBUG if options.verbose else logging.CRITICAL)
    try:
        asyncio.run(_bracelets(options) if options.command == "bracelets" else _readings(options))
    except (SimulatorError, InvalidPseudonymKey, OSError) as error:
        print(f"kidjamo-sim: {error}", file=sys.stderr)
        return FAILURE
    return OK


async def _bracelets(options: argparse.Namespace) -> None:
    from firmware_sim.fleet import Fleet

    plan = FleetPlan(
        ble=options.ble,
        mqtt=options.mqtt,
        hci=options.hci,
        broker=options.mqtt_broker,
        seed=options.seed,
        boot=_restart_counter(),
        period_s=options.period,
        duration_s=options.duration,
        drain_s=options.drain_seconds,
        ledger=options.ledger,
        scenario=load_scenario(options.scenario) if options.scenario else None,
        drift_ppm=options.drift_ppm,
        secure=options.secure,
        standard=options.standard,
    )
    simulated_s = options.duration * options.speed if options.duration else None
    fleet = Fleet(plan, Timeline.begin(options.speed, simulated_s, options.start))
    signals = _StopSignals()
    await _with_progress(fleet.run(signals.stop, signals.abort), fleet.summary)


async def _readings(options: argparse.Namespace) -> None:
    from firmware_sim.feed import ReadingFeed, readings
    from firmware_sim.sent_readings import SentReadingsLog

    simulated_s = options.duration * options.speed if options.duration else None
    if options.count is not None:
        simulated_s = options.period * options.count / options.patients
    timeline = Timeline.begin(options.speed, simulated_s, options.start)
    source = readings(options.patients, options.seed, _restart_counter(), timeline.start_ms, options.period)
    target = _target(options)
    signals = _StopSignals()
    if options.duration:
        asyncio.get_running_loop().call_later(options.duration, signals.stop.set)
    with SentReadingsLog(options.ledger) as sent_readings:
        feed = ReadingFeed(islice(source, options.count), target, timeline, sent_readings)
        work = asyncio.create_task(_with_progress(feed.run(signals.stop), feed.summary))
        limit = asyncio.create_task(signals.end_of_draining(options.drain_seconds))
        try:
            await asyncio.wait({work, limit}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise SimulatorError(f"stopped before all readings were delivered: {feed.summary()}")
            await work
        finally:
            work.cancel()
            limit.cancel()
            await target.close()


def _target(options: argparse.Namespace) -> Target:
    from firmware_sim.targets import ApiTarget, CombinedTarget, KafkaTarget, MqttTarget, RetryingTarget

    targets: list[Target] = []
    if options.target in ("api", "both"):
        targets.append(ApiTarget(options.url, _credentials(options)))
    if options.target in ("kafka", "both"):
        targets.append(KafkaTarget(options.bootstrap, _pseudonyms()))
    if options.target == "mqtt":
        targets.append(MqttTarget(options.mqtt_broker.host, options.mqtt_broker.port))
    return CombinedTarget([RetryingTarget(target) for target in targets])


def _credentials(options: argparse.Namespace) -> tuple[str, str] | None:
    if options.client_id is None or options.client_secret_file is None:
        return None
    return options.client_id, options.client_secret_file.read_text().strip()


def _pseudonyms() -> Pseudonymiser | ClearIdentifiers:
    """Return what the API would use: pseudonyms, unless PSEUDONYMISATION=off."""
    if os.environ.get("PSEUDONYMISATION") == "off":
        return ClearIdentifiers()
    path = os.environ.get("PSEUDONYM_KEY_FILE")
    if not path:
        raise SimulatorError(
            "patient identifiers must be pseudonymised for Kafka: set PSEUDONYM_KEY_FILE to the API's key "
            "file, or PSEUDONYMISATION=off"
        )
    return parse_keys(Path(path).read_text())


async def _with_progress(work: Coroutine[None, None, None], summary: Callable[[], str]) -> None:
    async def report() -> None:
        while True:
            await asyncio.sleep(_PROGRESS_S)
            print(f"kidjamo-sim: {summary()}", file=sys.stderr, flush=True)

    reporting = asyncio.create_task(report())
    try:
        await work
    finally:
        reporting.cancel()
    print(f"kidjamo-sim: {summary()}", file=sys.stderr, flush=True)


def _restart_counter() -> int:
    """Return a restart counter that differs between runs, whatever the seed."""
    return int(time.time()) % 256
