"""The Python client: `Solomon` and its asynchronous twin `AsyncSolomon`.

    from service.client import Solomon

    with Solomon("http://127.0.0.1:8080") as solomon:
        answer = solomon.search("What is the capital of France?", k=3)

Importing it loads neither the model's libraries nor the server's. What is sent and how answers are read is
written once (`requests`, `answers`, `bringing`), as values and generators that know no network; the two
classes only carry them out.
"""

from service.client.answers import (
    Collection,
    Embedding,
    Embeddings,
    Hit,
    SearchAnswer,
    ServerInfo,
    StoredDocument,
)
from service.client.asynchronous import AsyncSolomon
from service.client.content import Document, Item
from service.client.errors import ClientError, NotSolomon, ServerProblem, Unreachable
from service.client.outcomes import Failure, Outcome
from service.client.patience import Patience
from service.client.synchronous import Solomon

__all__ = [
    "AsyncSolomon",
    "ClientError",
    "Collection",
    "Document",
    "Embedding",
    "Embeddings",
    "Failure",
    "Hit",
    "Item",
    "NotSolomon",
    "Outcome",
    "Patience",
    "SearchAnswer",
    "ServerInfo",
    "ServerProblem",
    "Solomon",
    "StoredDocument",
    "Unreachable",
]
