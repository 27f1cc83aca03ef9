"""The installed Chromium for Playwright, without background network access."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from shutil import which

from playwright.async_api import Browser, Playwright

_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def program() -> str | None:
    """Return its path; None if it is not installed."""
    return which("chromium") or which("chromium-browser") or which("google-chrome")


@asynccontextmanager
async def launched(playwright: Playwright) -> AsyncIterator[Browser]:
    """Yield a browser."""
    browser = await playwright.chromium.launch(executable_path=program(), args=_QUIET)
    try:
        yield browser
    finally:
        await browser.close()
