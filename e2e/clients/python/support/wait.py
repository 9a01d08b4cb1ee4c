"""Waiting, always with an end."""

import asyncio
from collections.abc import Callable


async def until(what: str, probe: Callable[[], object], seconds: float = 10) -> None:
    """Returns when `probe` answers with something true; fails, saying `what` was awaited, when it does not in time."""
    try:
        async with asyncio.timeout(seconds):
            while not probe():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds} s") from None


async def settle() -> None:
    """Long enough for anything that was wrongly sent to have arrived."""
    await asyncio.sleep(0.25)
