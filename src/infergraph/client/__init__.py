"""The client for infergraph and other servers of its protocols: predictions, graphs and tasks, over REST or gRPC.

    from infergraph.client import Client

    with Client("http://127.0.0.1:9000") as client:
        client.predict([[1.0, 2.0]])          an array in, an array out
        client.tasks.submit("corpus.jsonl")

`AsyncClient` is the same with `await`. Every error is a fault of `infergraph.errors` with its reason and node.
"""

from infergraph.client.asynchronous import AsyncClient
from infergraph.client.calls import CallOptions
from infergraph.client.connection import Connection
from infergraph.client.synchronous import Client
from infergraph.client.task import SubmitOptions, Task
from infergraph.client.tasks import AsyncTasks

__all__ = ["AsyncClient", "AsyncTasks", "CallOptions", "Client", "Connection", "SubmitOptions", "Task"]
