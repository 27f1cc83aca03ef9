"""The page in a real browser, on a phone and on a tablet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.edge_gateway.page.chromium import launched, program
from tests.edge_gateway.page.conftest import PIN, ServedPage, Serving
from tests.waiting import PATIENCE_S

PHONE, TABLET = {"width": 390, "height": 844}, {"width": 1280, "height": 800}


pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.servers]
expect.set_options(timeout=PATIENCE_S * 1000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    if program() is None:
        pytest.skip("Chromium is not installed: sudo apt-get install chromium")
    async with async_playwright() as playwright, launched(playwright) as opened:
        yield opened


async def a_page(browser: Browser, served: ServedPage, language: str = "en", **options: Any) -> Page:
    page = await browser.new_page(**options)  # in a context of its own
    await page.goto(f"{served.url}/?lang={language}")
    return page


async def test_values_show_their_age_and_are_marked_when_old(serving: Serving, browser: Browser) -> None:
    async with serving() as served:
        served.measure(1, spo2=96.0)
        served.measure(2, spo2=95.0, age=timedelta(minutes=3))
        page = await a_page(browser, served)
        fresh, old = (page.locator(f"#values-{index} .value").first for index in (0, 1))
        await expect(fresh).to_contain_text("96")
        await expect(old).to_contain_text("3 min ago")
        await expect(old).to_have_class("value old")
        await expect(fresh).to_have_class("value")
        await expect(page.locator("#values-2")).to_contain_text("out of range or switched off")
        served.measure(1, spo2=93.0)
        await expect(fresh).to_contain_text("93")


async def test_alarm_appears_and_is_silenced_by_an_acknowledgement_with_the_keyboard(
    serving: Serving, browser: Browser
) -> None:
    async with serving(PIN) as served:
        page = await a_page(browser, served, "fr")
        await page.get_by_label("Votre nom").fill("Fatou")
        await page.get_by_label("Code PIN").fill(PIN)
        await page.keyboard.press("Enter")
        await expect(page.locator("#alarms-0")).to_have_text("Aucune alarme")
        served.measure(1, spo2=87.6)
        alarm = page.locator("#alarms-0 .alarm")
        await expect(alarm).to_contain_text("Manque d'oxygène · SpO2 87,6 %")
        await expect(page.locator("#values-0 .number").first).to_have_text("87,6")
        await expect(page.locator("html")).to_have_attribute("data-urgency", "HIGH")
        await page.get_by_role("button", name="J'ai vu · silence 10 min").focus()
        await page.keyboard.press("Enter")
        await expect(alarm).to_contain_text("par Fatou")
        await expect(alarm).to_contain_text("vue · depuis")
        await expect(page.locator("html")).to_have_attribute("data-urgency", "")
        served.measure(1, spo2=85.6)
        await expect(alarm).to_contain_text("sans réponse")
        await expect(page.locator("html")).to_have_attribute("data-urgency", "HIGH")


async def test_focus_is_kept_while_values_change(serving: Serving, browser: Browser) -> None:
    async with serving() as served:
        served.measure(1, spo2=85.0)
        page = await a_page(browser, served)
        button = page.get_by_role("button", name="Seen · silence 2 min")
        await button.focus()
        for spo2 in (84.0, 83.0):
            served.measure(1, spo2=spo2)
            await expect(page.locator("#alarms-0")).to_contain_text(f"SpO2 {spo2:.0f} %")
            await expect(button).to_be_focused()


async def test_lost_connection_is_shown_until_it_is_restored(serving: Serving, browser: Browser) -> None:
    async with serving() as served:
        served.measure(1)
        page = await a_page(browser, served)
        await expect(page.locator("#lost")).to_be_hidden()
        await page.context.set_offline(True)
        served.page.stopping.set()
        await expect(page.locator("#lost")).to_be_visible()
        await expect(page.locator("body")).to_have_class("stale")
        served.page.stopping.clear()
        await page.context.set_offline(False)
        await expect(page.locator("#lost")).to_be_hidden()


async def test_new_child_gets_a_card(serving: Serving, browser: Browser) -> None:
    async with serving() as served:
        page = await a_page(browser, served)
        await expect(page.locator(".card")).to_have_count(3)
        served.monitor._find_or_add("patient-new")
        await expect(page.locator(".card")).to_have_count(4)


async def test_hand_over_and_self_test_are_shown(serving: Serving, browser: Browser) -> None:
    async with serving() as served:
        served.failures = {"mother": ""}
        page = await a_page(browser, served)
        await expect(page.locator("#gateway")).to_contain_text("nobody has taken over yet")
        await page.get_by_label("Hand-over note").fill("Awa drinks every hour")
        await page.get_by_role("button", name="I take over").click()
        await expect(page.locator("#gateway")).to_contain_text("Awa drinks every hour")
        await page.get_by_role("button", name="Test the alarms").click()
        await expect(page.locator("#self-test-results")).to_have_text("mother: sent; has it arrived?")


@pytest.mark.parametrize("size", [PHONE, TABLET])
async def test_urgent_condition_of_the_gateway_is_visible_without_scrolling(
    serving: Serving, browser: Browser, size: dict[str, int]
) -> None:
    async with serving() as served:
        page = await a_page(browser, served, viewport=size)
        alarm = page.locator("#gateway .alarm.HIGH")
        served.outbox_trouble = "database or disk is full"
        await expect(alarm).to_be_in_viewport()
        served.outbox_trouble = ""
        await expect(alarm).to_have_count(0)


async def test_sound_is_turned_on_with_a_click(serving: Serving, browser: Browser) -> None:
    async with serving() as served:
        page = await a_page(browser, served)
        button = page.locator("#sound")
        await expect(button).to_have_text("Sound is off: press to turn it on")
        await button.click()
        await expect(button).to_have_text("Sound is on")
        await expect(button).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize("size", [PHONE, TABLET])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "fr"])
async def test_page_is_accessible_and_fits(
    serving: Serving, browser: Browser, size: dict[str, int], scheme: str, language: str, tmp_path: Path
) -> None:
    async with serving() as served:
        served.measure(1, spo2=85.2, heart_rate=131, temperature=38.4)
        served.measure(2)
        served.state.undelivered_since = datetime.now(UTC) - timedelta(minutes=40)
        served.monitor.tick()
        page = await a_page(browser, served, language, viewport=size, color_scheme=scheme)
        await expect(page.locator("#gateway .alarm")).to_have_count(1)
        found = await Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        numbers = page.locator("#values-0 .number")
        heights = [
            await numbers.nth(index).evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
            for index in range(4)
        ]
        assert min(heights) >= 40, "readable at 3 m on a wall tablet"
        await page.screenshot(path=tmp_path / "page.png", full_page=True)


async def test_login_is_accessible(serving: Serving, browser: Browser) -> None:
    async with serving(PIN) as served:
        page = await a_page(browser, served)
        found = await Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
