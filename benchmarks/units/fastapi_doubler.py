"""The same model served as one writes it by hand: FastAPI with pydantic models of the message."""

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel


class Tensor(BaseModel):
    shape: list[int]
    values: list[float]


class Data(BaseModel):
    names: list[str] = []
    tensor: Tensor | None = None
    ndarray: list[list[float]] | None = None


class Message(BaseModel):
    data: Data


app = FastAPI()


@app.get("/live")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/api/v1.0/predictions", response_model_exclude_none=True)
async def predict(message: Message) -> Message:
    data = message.data
    if data.tensor is not None:
        y = np.array(data.tensor.values).reshape(data.tensor.shape) * 2
        return Message(data=Data(names=data.names, tensor=Tensor(shape=list(y.shape), values=y.ravel().tolist())))
    return Message(data=Data(names=data.names, ndarray=(np.array(data.ndarray) * 2).tolist()))
