"""A task whose runs belong to tenants."""

import asyncio

from jtask import task


@task(fair_key="{tenant}")
async def convert(tenant: str, seconds: float) -> None:
    """Sleep for a tenant."""
    await asyncio.sleep(seconds)
