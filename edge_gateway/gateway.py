"""Builds the gateway from its components and runs it: sources, intake, alarms, outbox, uplink, page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edge_gateway.alarms.evaluator import AlarmEvaluator
from edge_gateway.alarms.history_restore import restore_history
from edge_gateway.alarms.notification import NotificationService, notification_service
from edge_gateway.alarms.notifiers import MqttNotifier
from edge_gateway.config import Config, PageConfig
from edge_gateway.control import Handler, serve_commands
from edge_gateway.errors import DataDirUnavailable, InvalidConfig, PageUnavailable
from edge_gateway.handlers import handlers as gateway_handlers
from edge_gateway.inbox import ReadingSource
from edge_gateway.intake import Intake
from edge_gateway.maintenance import maintain, report_corruption
from edge_gateway.mqtt.session import MqttSession
from edge_gateway.mqtt.source import MqttSource
from edge_gateway.mqtt.state_topic import last_will, publish_state
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import GatewayState
from edge_gateway.systemd import SystemdNotifier
from edge_gateway.uplink.client import ApiClient
from edge_gateway.uplink.heartbeat import HeartbeatSender
from edge_gateway.uplink.uplink import Uplink
from runtime.file_lock import locked
from runtime.notification_queue import NotificationQueue
from vitals.rules import AlertRecord

log = logging.getLogger(__name__)

_SHUTDOWN_STEP_S = 10.0
_PAGE_RETRY_S = 10.0
_LOCK_TIMEOUT_S = 0.25
"""A command that checks whether a gateway is running holds the lock for a moment."""


@dataclass(frozen=True, slots=True)
class GatewayComponents:
    """What a running gateway consists of, apart from its configuration, state and outbox."""

    sources: list[ReadingSource]
    session: MqttSession | None
    evaluator: AlarmEvaluator
    notification: NotificationService
    intake: Intake
    uplink: Uplink
    heartbeat: HeartbeatSender
    handlers: Mapping[str, Handler]
    pin: str | None


async def run_gateway(config: Config, stop: asyncio.Event) -> None:
    """Run until `stop` is set; then stop the sources and make everything durable that they received.

    Raises:
        DataDirUnavailable: the data directory cannot be used, or another gateway uses it.
        OutboxUnavailable: the outbox cannot be opened.
        InvalidConfig: the page's PIN cannot be read or is too short.
    """
    pin = config.page.pin if config.page else None
    state = GatewayState(config.gateway_id)
    loop = asyncio.get_running_loop()

    def on_trouble(trouble: str) -> None:
        loop.call_soon_threadsafe(state.part, "outbox", f"cannot write: {trouble}" if trouble else "writes")

    with lock_data_dir(config.data_dir), Outbox(config.outbox_path, on_trouble=on_trouble) as outbox:
        api = ApiClient(config.api)
        try:
            await _run(config, _build(config, state, outbox, api, pin), state, outbox, stop)
        finally:
            await api.close()


@asynccontextmanager
async def standalone_handlers(config: Config) -> AsyncIterator[Mapping[str, Handler]]:
    """Yield the handlers of bracelet commands without a running gateway; lock the data directory meanwhile.

    Raises:
        DataDirUnavailable: as for `run_gateway`.
        OutboxUnavailable: as for `run_gateway`.
        InvalidConfig: there is no [ble] section.
    """
    from edge_gateway.ble.pairing import Pairing
    from edge_gateway.ble.source import BleSource

    if config.ble is None:
        raise InvalidConfig("ble", "is missing", "Add a [ble] section")
    state = GatewayState(config.gateway_id)
    with lock_data_dir(config.data_dir), Outbox(config.outbox_path) as outbox:
        source = BleSource(config.ble, config.patients, config.addresses, outbox, state)
        await source.load_addresses()
        scanning = asyncio.create_task(source.adapter.run(), name="radio")
        try:
            yield Pairing(source, outbox).handlers
        finally:
            await _cancel([scanning])


def _build(
    config: Config, state: GatewayState, outbox: Outbox, api: ApiClient, pin: str | None
) -> GatewayComponents:
    sources: list[ReadingSource] = []
    alert_queues: list[NotificationQueue[AlertRecord]] = []
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
        alert_queues.append(NotificationQueue("mqtt", notifier.publish_alert, state.counters))
    handlers: dict[str, Handler] = {"links": state.show_links}
    if config.ble:
        from edge_gateway.ble.pairing import Pairing  # bleak is slow to import: only with Bluetooth
        from edge_gateway.ble.source import BleSource

        source = BleSource(config.ble, config.patients, config.addresses, outbox, state)
        sources.append(source)
        handlers |= Pairing(source, outbox).handlers
    notification = notification_service(config, state, outbox, notifier)
    handlers |= gateway_handlers(state, notification, outbox)
    evaluator = AlarmEvaluator(alert_queues, state.counters, notification.monitor.observe)
    uplink = Uplink(api, outbox, state, config.api.batch_size)
    intake = Intake(config.gateway_id, evaluator, outbox, uplink, state)
    heartbeat = HeartbeatSender(api, notification.monitor, state, outbox, notification.reachable)
    return GatewayComponents(
        sources, session, evaluator, notification, intake, uplink, heartbeat, handlers, pin
    )


async def _run(
    config: Config, gateway: GatewayComponents, state: GatewayState, outbox: Outbox, stop: asyncio.Event
) -> None:
    for path in outbox.set_aside:
        report_corruption(path, gateway.intake)
    reported = len(outbox.set_aside)
    monitor = gateway.notification.monitor
    await monitor.load()
    async with asyncio.TaskGroup() as tasks:
        services = [
            tasks.create_task(serve_commands(config.control_path, gateway.handlers, state), name="commands"),
            tasks.create_task(gateway.uplink.run(), name="uplink"),
            tasks.create_task(gateway.uplink.run_dead_letters(), name="dead letters"),
            tasks.create_task(gateway.evaluator.run(), name="alerts"),
            tasks.create_task(gateway.notification.run(), name="notification"),
            tasks.create_task(restore_history(monitor, outbox), name="history"),
            tasks.create_task(gateway.heartbeat.run(), name="heartbeat"),
            tasks.create_task(
                maintain(config, gateway.intake, gateway.uplink, state, outbox, reported), name="maintenance"
            ),
        ]
        if config.page:
            page = _serve_page(config, config.page, gateway, state, outbox)
            services.append(tasks.create_task(page, name="page"))
        if gateway.session:
            publishing = publish_state(gateway.session, state, outbox)
            services.append(tasks.create_task(publishing, name="state topic"))
        receiving = {
            source.name: [
                tasks.create_task(source.run(), name=source.name),
                tasks.create_task(gateway.intake.serve(source), name=f"intake {source.name}"),
            ]
            for source in gateway.sources
        }
        log.info("gateway %s started, sources: %s", config.gateway_id, ", ".join(receiving) or "none")
        systemd = SystemdNotifier()
        systemd.ready()
        services.append(tasks.create_task(systemd.watch(monitor.is_alive), name="watchdog"))
        await stop.wait()
        systemd.stopping()
        log.info("stopping the sources, then making durable what they received")
        await _stop(gateway, receiving, services)


async def _serve_page(
    config: Config, page: PageConfig, gateway: GatewayComponents, state: GatewayState, outbox: Outbox
) -> None:
    from edge_gateway.page.access import (  # the web server is slow to import: only with a page
        Access,
        load_key,
    )
    from edge_gateway.page.app import Page
    from edge_gateway.page.server import listen, serve

    access = Access(load_key(config.data_dir / "page-cookies.key"), gateway.pin)
    notification = gateway.notification
    application = Page(
        notification.monitor,
        state,
        audit_log=outbox,
        outbox_counts=outbox.counts,
        access=access,
        language=config.language,
        self_test=notification.self_test,
        stopping=asyncio.Event(),
    )
    while True:
        try:
            listener = listen(page)
        except PageUnavailable as error:  # the rest of the gateway runs without the page
            log.error("%s", error)
            state.part("page", f"away: {error}")
            await asyncio.sleep(_PAGE_RETRY_S)
            continue
        with listener:
            log.info("the page is at %s://%s:%d", page.scheme, *listener.getsockname()[:2])
            state.part("page", "up")
            await serve(application, page, listener)


async def _stop(
    gateway: GatewayComponents,
    receiving: dict[str, list[asyncio.Task[None]]],
    services: list[asyncio.Task[None]],
) -> None:
    await _cancel([task for name, tasks in receiving.items() if name != "mqtt" for task in tasks])
    await _cancel(receiving.get("mqtt", [])[1:])  # stop the intake only: the session must still acknowledge
    try:
        async with asyncio.timeout(_SHUTDOWN_STEP_S):
            await gateway.intake.drained()
    except TimeoutError:
        log.error("not everything could be written to disk; what was not written was not acknowledged")
    await _cancel(services)
    with suppress(TimeoutError):
        async with asyncio.timeout(_SHUTDOWN_STEP_S):
            await gateway.notification.monitor.save()
    if gateway.session:
        topic, payload = gateway.session.will
        await gateway.session.publish(topic, payload, retain=True)
    await _cancel(receiving.get("mqtt", []))


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def lock_data_dir(directory: Path) -> Iterator[None]:
    """Hold the lock on the data directory, which is created if needed; a full disk does not prevent locking.

    Raises:
        DataDirUnavailable: it cannot be created or opened, or another gateway holds the lock.
    """
    with ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(directory, timeout_s=_LOCK_TIMEOUT_S))
        except BlockingIOError as error:
            raise DataDirUnavailable(
                f"another gateway uses {directory}: stop it, or set another data_dir"
            ) from error
        except OSError as error:
            raise DataDirUnavailable(
                f"the data directory {directory} cannot be used: {error};"
                f" create it (sudo install -d -o $USER {directory}), or set another data_dir"
            ) from error
        yield
