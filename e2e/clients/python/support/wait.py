"""Waits with a deadline."""

import asyncio
from collections.abc import Callable


async def until(what: str, probe: Callable[[], object], seconds: float = 10) -> None:
    """Returns when `probe` returns a true value. Fails with `what` if it does not in time."""
    try:
        async with asyncio.timeout(seconds):
            while not probe():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds} s") from None


async def settle() -> None:
    """Waits long enough for a wrongly sent message to arrive."""
    await asyncio.sleep(0.25)
