"""The read model, served: plain queries of tables that were made for them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Any

from fastapi import FastAPI, HTTPException

from headstream import connect_async
from orders import read_model
from orders.supervisor import supervised


@asynccontextmanager
async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
    """Keeps the read model up to date while the API runs, if ``ORDERS_STORE`` names the store: in one of several processes, the others wait."""
    url = os.environ.get("ORDERS_STORE")
    if url is None:
        yield
        return
    async with connect_async(url) as store:
        projection = read_model.async_projection(os.environ["ORDERS_DB"])
        async with supervised("the projection of orders", partial(projection.run, store, standby=True)):
            yield


api = FastAPI(title="Orders", lifespan=lifespan)


@api.get("/orders")
def orders(status: str = "placed") -> list[dict[str, Any]]:
    """The orders that are at some stage."""
    return rows("SELECT * FROM orders WHERE status = ? ORDER BY number", status)


@api.get("/orders/{number}")
def order(number: str) -> dict[str, Any]:
    """One order."""
    for found in rows("SELECT * FROM orders WHERE number = ?", number):
        return found
    raise HTTPException(404, f"there is no order {number}")


@api.get("/customers")
def customers(limit: int = 10) -> list[dict[str, Any]]:
    """The best customers."""
    return rows("SELECT * FROM customers ORDER BY spent DESC, name LIMIT ?", limit)


def rows(query: str, *values: object) -> list[dict[str, Any]]:
    """What the read model answers; it is in the SQLite file that ``ORDERS_DB`` names."""
    with closing(read_model.connect(os.environ["ORDERS_DB"])) as db:
        return [dict(row) for row in db.execute(query, values)]
