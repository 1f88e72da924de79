"""An orders service of the usual make: FastAPI, Pydantic and Tortoise. It believes `request-user-id`, and lists all."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

from fastapi import FastAPI, Header
from pydantic import BaseModel, ConfigDict, Field
from tortoise import fields
from tortoise.contrib.fastapi import RegisterTortoise
from tortoise.models import Model

UserId = Annotated[int, Header(alias="request-user-id")]


class Order(Model):
    id = fields.IntField(primary_key=True)
    item = fields.CharField(max_length=200)
    quantity = fields.IntField(default=1)
    address = fields.CharField(max_length=500)
    status = fields.CharField(max_length=16, default="placed")
    created_by = fields.IntField(db_index=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)


class Placed(BaseModel):
    item: str = Field(min_length=1, max_length=200)
    quantity: int = Field(1, ge=1, le=1000)
    address: str = Field(min_length=1, max_length=500)


class Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    item: str
    quantity: int
    address: str
    status: str
    created_by: int
    created_at: datetime
    updated_at: datetime


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with RegisterTortoise(
        app, db_url=os.environ["DATABASE_URL"], modules={"models": ["fastapi_orders"]}, generate_schemas=True
    ):
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/api/orders")
async def listed(user_id: UserId) -> list[Shown]:
    return [Shown.model_validate(order) for order in await Order.filter(created_by=user_id).order_by("-id")]


@app.post("/api/orders", status_code=201)
async def placed(order: Placed, user_id: UserId) -> Shown:
    return Shown.model_validate(await Order.create(**order.model_dump(), created_by=user_id))
