"""Reading a stream of events, as a client does that goes by the specification."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2

from tests.handlers.clients import Client


class Told(NamedTuple):
    """One event."""

    event: str
    id: str
    data: dict[str, Any]


class Stream:
    """An open stream."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self.comments: list[str] = []
        self._lines = answer.iter_lines()

    def block(self) -> list[str]:
        """The lines up to the next empty one; none at the end."""
        lines: list[str] = []
        for line in self._lines:
            if not line:
                break
            lines.append(line)
        return lines

    def next(self) -> Told | None:
        """The next event, past comments and hints; None at the end."""
        while block := self.block():
            fields = dict(line.split(": ", 1) for line in block)
            if "data" in fields:
                return Told(fields["event"], fields["id"], json.loads(fields["data"]))
        return None

    def rest(self) -> list[Told]:
        """All events up to the end."""
        return list(iter(self.next, None))


@contextmanager
def stream(client: Client, path: str, *, after: str | None = None) -> Iterator[Stream]:
    """The stream there, from its beginning or after an event."""
    headers = client.headers | ({} if after is None else {"Last-Event-ID": after})
    url = f"{client.prefix}{path}"
    with client.service.http.stream("GET", url, headers=headers) as answer:
        yield Stream(answer)
