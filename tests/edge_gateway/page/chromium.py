"""The machine's own Chromium, for Playwright; told to leave the network alone."""

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
    """Where it is; None where it is not installed."""
    return which("chromium") or which("chromium-browser") or which("google-chrome")


@asynccontextmanager
async def launched(playwright: Playwright) -> AsyncIterator[Browser]:
    """A browser inside the block."""
    browser = await playwright.chromium.launch(executable_path=program(), args=_QUIET)
    try:
        yield browser
    finally:
        await browser.close()
