"""A lean gateway: FastAPI with one route for all, PyJWT, and one shared aiohttp session; bodies pass unread."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from fastapi import FastAPI, Request, Response
from fastapi_token import Claims

HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length"}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(os.environ["UPSTREAM"], timeout=timeout) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def forward(path: str, request: Request, user: Claims) -> Response:
    headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
    headers["request-user-id"] = user["sub"]
    async with request.app.state.client.request(
        request.method,
        f"/{path}",
        params=request.query_params,
        headers=headers,
        data=await request.body(),
        allow_redirects=False,
    ) as answer:
        content = await answer.read()
    # aiohttp has decoded the body, so its Content-Encoding no longer holds.
    dropped = HOP_BY_HOP | {"content-encoding"}
    kept = {name: value for name, value in answer.headers.items() if name.lower() not in dropped}
    return Response(content, answer.status, kept)
