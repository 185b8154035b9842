"""The page for people, in a real browser."""

import shutil
from pathlib import Path

import pytest
import trio

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def require_chromium() -> str:
    """Return the browser, or skip the test, loudly, where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium, as .ci/run does")
    return CHROMIUM


async def document_at(url: str, profile: Path) -> str:
    """Return the document of a page as the browser has it a few seconds on."""
    # No sandbox within a sandbox, and nothing that calls home.
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", "--virtual-time-budget=3000", "--dump-dom",
    ]  # fmt: skip
    done = await trio.run_process([require_chromium(), *flags, url], capture_stdout=True, capture_stderr=True)
    return done.stdout.decode()
