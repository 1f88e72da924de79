"""The gateway of small FastAPI projects: an endpoint for each path and method, and an aiohttp session for each request.

The body is validated and sent as JSON again, and the service's answer read and written as JSON again.
"""

import os
from typing import Annotated, Any

import aiohttp
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi_token import Claims
from pydantic import BaseModel

ORDERS = os.environ["UPSTREAM"]
TIMEOUT = aiohttp.ClientTimeout(total=10)
app = FastAPI()


class Order(BaseModel):
    item: str
    quantity: int = 1
    address: str


async def signed_in(user: Claims) -> dict[str, str]:
    if user["role"] not in ("admin", "default"):
        raise HTTPException(403, "Not allowed")
    return {"request-user-id": user["sub"], "request-user-type": user["role"]}


Headers = Annotated[dict[str, str], Depends(signed_in)]


async def asked(request: Request, response: Response, headers: dict[str, str], payload: Any = None) -> Any:
    url = ORDERS + request.url.path
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.request(request.method, url, json=payload, headers=headers) as answer,
        ):
            data = await answer.json()
    except aiohttp.ClientConnectorError as exc:
        raise HTTPException(503, "Service is unavailable") from exc
    response.status_code = answer.status
    return data


# What they return is not annotated, as in FastAPI's tutorial: an annotation would be a response model.
@app.get("/api/orders")
async def listed(request: Request, response: Response, headers: Headers):
    return await asked(request, response, headers)


@app.post("/api/orders")
async def placed(order: Order, request: Request, response: Response, headers: Headers):
    return await asked(request, response, headers, order.model_dump())
