"""Results of a transaction's queries, given out in batches as Fabric's peer does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from fabric_protos.peer import chaincode_shim_pb2

BATCH = 100


class Queries:
    """The open queries of one transaction."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[list[bytes], Iterator[bytes]]] = {}
        self._opened = 0

    def start(self, results: Iterator[bytes]) -> bytes:
        """The first ``QueryResponse``."""
        self._opened += 1
        query = str(self._opened)
        self._open[query] = ([], results)
        return self.next(query)

    def next(self, query: str) -> bytes:
        """The next ``QueryResponse``; the last one closes the query.

        Raises:
            ValueError: there is no such query.
        """
        if query not in self._open:
            raise ValueError("query iterator not found")
        ahead, rest = self._open[query]
        found = [*ahead, *islice(rest, BATCH + 1 - len(ahead))]
        batch, ahead = found[:BATCH], found[BATCH:]
        if ahead:
            self._open[query] = (ahead, rest)
        else:
            self.close(query)
        results = [chaincode_shim_pb2.QueryResultBytes(resultBytes=item) for item in batch]
        response = chaincode_shim_pb2.QueryResponse(results=results, has_more=bool(ahead), id=query)
        return bytes(response.SerializeToString())

    def close(self, query: str) -> bytes:
        """Forget a query, open or not."""
        self._open.pop(query, None)
        return bytes(chaincode_shim_pb2.QueryResponse(id=query).SerializeToString())
