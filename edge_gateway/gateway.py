"""Wiring: sources into the intake, the intake into alarms and the outbox, the outbox to the API."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

from edge_gateway.alarms.evaluator import Alarms
from edge_gateway.alarms.history_restore import recollect
from edge_gateway.alarms.notification import People, people
from edge_gateway.alarms.notifiers import MqttNotifier
from edge_gateway.config import Config, PageConfig
from edge_gateway.control import Handler, serve_commands
from edge_gateway.errors import DataDirUnavailable, InvalidConfig, PageUnavailable
from edge_gateway.handlers import handlers as gateway_handlers
from edge_gateway.inbox import Arrival, DeadLetter, Source
from edge_gateway.intake import Intake
from edge_gateway.mqtt.session import MqttSession
from edge_gateway.mqtt.source import MqttSource
from edge_gateway.mqtt.state_topic import last_will, publish_state
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.retention import Gap
from edge_gateway.state import GatewayState
from edge_gateway.systemd import Supervisor
from edge_gateway.uplink.client import ApiClient
from edge_gateway.uplink.heartbeat import HeartbeatSender
from edge_gateway.uplink.uplink import Uplink
from runtime.file_lock import locked
from runtime.notification_queue import Desk
from vitals.rules import AlertRecord

log = logging.getLogger(__name__)

_UPKEEP_EVERY_S, _AGAIN_S = 10.0, 1.0
_DRAIN_S = 10.0
_AGAIN_LATER_S = 10.0
_LOCKED_WITHIN_S = 0.25
"""A command that asks whether a gateway runs holds the lock for a moment."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a running gateway is made of."""

    sources: list[Source]
    session: MqttSession | None
    alarms: Alarms
    people: People
    intake: Intake
    uplink: Uplink
    heartbeat: HeartbeatSender
    handlers: Mapping[str, Handler]
    pin: str | None


async def run_gateway(config: Config, stop: asyncio.Event) -> None:
    """Run until `stop` is set: then sources end first, and what they took is made durable.

    Raises:
        DataDirUnavailable: the data directory cannot be used, or another gateway uses it.
        OutboxUnavailable: the outbox cannot be opened at all.
        InvalidConfig: the page's PIN cannot be used.
    """
    pin = config.page.pin if config.page else None
    state = GatewayState(config.gateway_id)
    loop = asyncio.get_running_loop()

    def on_trouble(trouble: str) -> None:
        loop.call_soon_threadsafe(state.part, "outbox", f"cannot write: {trouble}" if trouble else "writes")

    with only_one(config.data_dir), Outbox(config.outbox_path, on_trouble=on_trouble) as outbox:
        api = ApiClient(config.api)
        try:
            await _run(config, _parts(config, state, outbox, api, pin), state, outbox, stop)
        finally:
            await api.close()


@asynccontextmanager
async def on_the_radio(config: Config) -> AsyncIterator[Mapping[str, Handler]]:
    """The commands on bracelets where no gateway runs: radio and data directory are held meanwhile.

    Raises:
        DataDirUnavailable, OutboxUnavailable: as when a gateway starts.
    """
    from edge_gateway.ble.pairing import Pairing
    from edge_gateway.ble.source import BleSource

    if config.ble is None:
        raise InvalidConfig("ble", "is missing", "Add a [ble] section")
    state = GatewayState(config.gateway_id)
    with only_one(config.data_dir), Outbox(config.outbox_path) as outbox:
        source = BleSource(config.ble, config.patients, config.addresses, outbox, state)
        await source.load_addresses()
        listening = asyncio.create_task(source.adapter.run(), name="radio")
        try:
            yield Pairing(source, outbox).handlers
        finally:
            await _cancel([listening])


def _parts(config: Config, state: GatewayState, outbox: Outbox, api: ApiClient, pin: str | None) -> _Parts:
    sources: list[Source] = []
    records: list[Desk[AlertRecord]] = []
    session = notifier = None
    if config.mqtt:
        session = MqttSession(
            config.mqtt,
            f"kidjamo-gateway-{config.gateway_id}",
            last_will(config.gateway_id),
            lambda mqtt: state.part("mqtt", mqtt),
        )
        sources.append(MqttSource(session, config.patients, config.accept_unknown_mqtt, state))
        notifier = MqttNotifier(session, config.gateway_id)
        records.append(Desk("mqtt", notifier.publish_alert, state.counters))
    handlers: dict[str, Handler] = {"links": state.show_links}
    if config.ble:
        from edge_gateway.ble.pairing import Pairing  # bleak is heavy: only where there is Bluetooth
        from edge_gateway.ble.source import BleSource

        source = BleSource(config.ble, config.patients, config.addresses, outbox, state)
        sources.append(source)
        handlers |= Pairing(source, outbox).handlers
    told = people(config, state, outbox, notifier)
    handlers |= gateway_handlers(state, told, outbox)
    alarms = Alarms(records, state.counters, told.ward.observe)
    uplink = Uplink(api, outbox, state, config.api.batch_size)
    intake = Intake(config.gateway_id, alarms, outbox, uplink, state)
    heartbeat = HeartbeatSender(api, told.ward, state, outbox, told.reachable)
    return _Parts(sources, session, alarms, told, intake, uplink, heartbeat, handlers, pin)


async def _run(
    config: Config, parts: _Parts, state: GatewayState, outbox: Outbox, stop: asyncio.Event
) -> None:
    for path in outbox.set_aside:
        _report(path, parts.intake)
    reported = len(outbox.set_aside)
    await parts.people.ward.recall()
    async with asyncio.TaskGroup() as tasks:
        uplinks = [
            tasks.create_task(serve_commands(config.control_path, parts.handlers, state), name="commands"),
            tasks.create_task(parts.uplink.run(), name="uplink"),
            tasks.create_task(parts.uplink.run_dead_letters(), name="dead letters"),
            tasks.create_task(parts.alarms.run(), name="alarms"),
            tasks.create_task(parts.people.run(), name="people"),
            tasks.create_task(recollect(parts.people.ward, outbox), name="recollection"),
            tasks.create_task(parts.heartbeat.run(), name="heartbeat"),
            tasks.create_task(_upkeep(config, parts, state, outbox, reported), name="upkeep"),
        ]
        if config.page:
            uplinks.append(
                tasks.create_task(_serve_page(config, config.page, parts, state, outbox), name="page")
            )
        if parts.session:
            uplinks.append(tasks.create_task(publish_state(parts.session, state, outbox), name="state topic"))
        receiving = {
            source.name: [
                tasks.create_task(source.run(), name=source.name),
                tasks.create_task(parts.intake.serve(source), name=f"intake {source.name}"),
            ]
            for source in parts.sources
        }
        log.info("gateway %s runs, sources: %s", config.gateway_id, ", ".join(receiving) or "none")
        supervisor = Supervisor()
        supervisor.ready()
        uplinks.append(tasks.create_task(supervisor.watch(parts.people.ward.ticks), name="watchdog"))
        await stop.wait()
        supervisor.stopping()
        log.info("stopping: sources first, then what they took is made durable")
        await _stop(parts, receiving, uplinks)


async def _serve_page(
    config: Config, page: PageConfig, parts: _Parts, state: GatewayState, outbox: Outbox
) -> None:
    from edge_gateway.page.access import Access, key_in  # a web server is heavy: only where there is a page
    from edge_gateway.page.app import Page
    from edge_gateway.page.server import listen, serve

    access = Access(key_in(config.data_dir / "page-cookies.key"), parts.pin)
    ward, prove = parts.people.ward, parts.people.prove
    served = Page(ward, state, outbox, access, config.language, prove, asyncio.Event())
    while True:
        try:
            listening = listen(page)
        except PageUnavailable as error:  # the rest of the gateway goes on
            log.error("%s", error)
            state.part("page", f"away: {error}")
            await asyncio.sleep(_AGAIN_LATER_S)
            continue
        with listening:
            log.info("the page is at %s://%s:%d", page.scheme, *listening.getsockname()[:2])
            state.part("page", "up")
            await serve(served, page, listening)


async def _stop(
    parts: _Parts, receiving: dict[str, list[asyncio.Task[None]]], uplinks: list[asyncio.Task[None]]
) -> None:
    await _cancel([task for name, tasks in receiving.items() if name != "mqtt" for task in tasks])
    await _cancel(receiving.get("mqtt", [])[1:])  # no more intake, while the connection can still acknowledge
    try:
        async with asyncio.timeout(_DRAIN_S):
            await parts.intake.drained()
    except TimeoutError:
        log.error("the disk did not take everything; what is not durable was not acknowledged either")
    await _cancel(uplinks)
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            await parts.people.ward.keep()
    if parts.session:
        topic, payload = parts.session.will
        await parts.session.publish(topic, payload, retain=True)
    await _cancel(receiving.get("mqtt", []))


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _upkeep(config: Config, parts: _Parts, state: GatewayState, outbox: Outbox, reported: int) -> None:
    """Keep the outbox within its bound, forget old history, report what was lost."""
    while True:
        for path in outbox.set_aside[reported:]:
            _report(path, parts.intake)
        reported = len(outbox.set_aside)
        removed = await outbox.purge(config.history_hours * 3600)
        while await outbox.enforce_bound(config.outbox.max_bytes):
            removed += 1
        state.outbox_filled = await outbox.fill_ratio(config.outbox.max_bytes)
        if state.undelivered_since is None:
            gaps = await outbox.report_gaps(partial(_gap_letter, config.gateway_id))
            if gaps:
                parts.uplink.dead_letter_news.set()
        await asyncio.sleep(_AGAIN_S if removed else _UPKEEP_EVERY_S)


def _gap_letter(gateway_id: str, gap: Gap) -> tuple[UUID, str]:
    """The cloud learns which readings it will never get."""
    reason = (
        f"data gap: {gap.lost} readings measured from {gap.first} to {gap.last} were given up,"
        " because the gateway's memory was full while it was offline"
    )
    letter = DeadLetter.of(b"", reason, field="outbox", device_id=gap.device_id)
    return letter.error_id, json.dumps(letter.to_wire(gateway_id), separators=(",", ":"))


def _report(path: Path, intake: Intake) -> None:
    """A corrupt outbox is known to the cloud, too: readings may be missing."""
    reason = f"the gateway's outbox was corrupt and is set aside as {path.name}: readings may be missing"
    intake.take([Arrival(DeadLetter.of(b"", reason, field="outbox"))])


@contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Hold the data directory; the lock goes with the process, however it ends, and needs no room on a disk.

    Raises:
        DataDirUnavailable: it is not there and cannot be made, or another gateway holds it.
    """
    with ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(directory, timeout_s=_LOCKED_WITHIN_S))
        except BlockingIOError as error:
            raise DataDirUnavailable(
                f"another gateway uses {directory}; stop it, or choose another data_dir"
            ) from error
        except OSError as error:
            raise DataDirUnavailable(
                f"the data directory {directory} cannot be used: {error};"
                f" make it (sudo install -d -o $USER {directory}), or choose another data_dir"
            ) from error
        yield
