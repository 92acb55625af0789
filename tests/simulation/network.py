"""The network outside: pictures to be fetched, and receivers of webhooks, good and bad."""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from random import Random
from typing import NamedTuple

from jobs.attempts import ATTEMPT_DEADLINE_S
from jobs.outbound import Answer, BadStatus, Outbound, TimedOut
from tests.jobs.machine import PICTURE
from tests.simulation.faults import NETWORK, Call
from tests.simulation.stage import Stage

PICTURE_URL = "https://pictures.test/small.png"


class Manner(StrEnum):
    """How a receiver answers, said by the host of its address."""

    ACCEPTS = "accepts"
    REFUSES = "refuses"
    RECOVERS = "recovers"
    """It refuses two of three."""

    HANGS = "hangs"
    GONE = "gone"
    BUSY = "busy"
    """It asks to be left alone for ten minutes, every other time."""


class Received(NamedTuple):
    """An attempt that reached a receiver, and the status that it answered; None for no answer."""

    at_ms: int
    sent_at_ms: int
    webhook_id: str
    job_id: str
    event: str
    body: bytes
    status: int | None

    @property
    def is_held_up(self) -> bool:
        """Whether it was on its way for longer than any attempt may take."""
        return self.at_ms > self.sent_at_ms + 1000 * ATTEMPT_DEADLINE_S

    @property
    def is_accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Network(Outbound):
    """Remembers every attempt in the order of their arrival."""

    def __init__(self, clock: Callable[[], int], random: Random) -> None:
        super().__init__()
        self.received: list[Received] = []
        self._now_ms = clock
        self._random = random

    def on(self, stage: Stage) -> "StagedNetwork":
        """This network as the service sees it."""
        return StagedNetwork(self, stage)

    def answer(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Answer | None:
        """What the receiver says to an attempt, if anything."""
        status = self._status(_manner_of(url))
        said = json.loads(body)
        self.received.append(
            Received(
                self._now_ms(),
                int(headers["webhook-timestamp"]) * 1000,
                headers["webhook-id"],
                said.get("jobId", ""),
                said.get("event", ""),
                body,
                status,
            )
        )
        if status is None:
            return None
        return Answer(status, retry_after_s=600 if status == 429 else None)

    def _status(self, manner: Manner) -> int | None:
        match manner:
            case Manner.ACCEPTS:
                return 200
            case Manner.REFUSES:
                return 500
            case Manner.RECOVERS:
                return self._random.choice((500, 302, 204))
            case Manner.GONE:
                return 410
            case Manner.BUSY:
                return self._random.choice((429, 200))
            case Manner.HANGS:
                return None


class StagedNetwork(Outbound):
    """Every request is made on a stage."""

    def __init__(self, network: Network, stage: Stage) -> None:
        super().__init__()
        self._network = network
        self._stage = stage

    def fetch(self, url: str, *, deadline_s: float, max_bytes: int) -> bytes:  # noqa: ARG002
        return self._stage.call(Call(NETWORK, f"GET {url}"), lambda: _picture(url))

    def post(
        self, url: str, *, body: bytes, headers: Mapping[str, str], deadline_s: float
    ) -> Answer:
        answer = self._stage.call(
            Call(NETWORK, f"POST {url} {headers['webhook-id']}"),
            lambda: self._network.answer(url, body=body, headers=headers),
        )
        if answer is None:
            self._stage.wait(deadline_s)
            raise TimedOut
        return answer


def _picture(url: str) -> bytes:
    if url != PICTURE_URL:
        raise BadStatus(status=404)
    return PICTURE


def receiver(manner: Manner, path: str) -> str:
    """The address of a receiver of that manner."""
    return f"https://{manner}.test/{path}"


def _manner_of(url: str) -> Manner:
    return Manner(url.removeprefix("https://").partition(".")[0])
