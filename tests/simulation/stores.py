"""The stores as the service sees them: each call is made on the stage."""

from contextlib import suppress

from jobs.ids import Clock
from storage.kv import MAX_PAGE, Change, Check, Conflict, Delete, Item, Key, KeyValue, Put
from storage.objects import Content, DirectUpload, Objects, Stored
from tests.simulation.custody import Custody
from tests.simulation.faults import COMMIT, OBJECTS, READ, Call
from tests.simulation.stage import Stage


class StagedKeyValue:
    """A `KeyValue` whose calls are made on a stage; each process has one of its own."""

    def __init__(self, kv: KeyValue, stage: Stage, custody: Custody, clock: Clock) -> None:
        self._kv = kv
        self._stage = stage
        self._custody = custody
        self._clock = clock
        self._seen: dict[str, list[Item]] = {}

    def get(self, key: Key) -> Item | None:
        return self._stage.call(
            Call(READ, f"{key.partition} {key.sort}"), lambda: self._kv.get(key)
        )

    def query(
        self,
        partition: str,
        *,
        after: str | None = None,
        limit: int = MAX_PAGE,
        newest_first: bool = False,
    ) -> list[Item]:
        return self._stage.call(
            Call(READ, f"{partition} after {after}"),
            lambda: self._kv.query(partition, after=after, limit=limit, newest_first=newest_first),
        )

    def due(self, queue: str, *, until_ms: int, limit: int) -> list[Item]:
        if not (queue in self._seen and self._stage.is_behind()):
            self._seen[queue] = self._stage.call(
                Call(READ, f"due {queue}"),
                lambda: self._kv.due(queue, until_ms=until_ms, limit=limit),
            )
        return self._seen[queue]

    def commit(self, *changes: Change) -> None:
        words = ", ".join(f"{type(each).__name__} {' '.join(each.key)}" for each in changes)
        call = Call(COMMIT, words, lambda: _rewrite_first(self._kv, changes))
        self._stage.call(
            call, lambda: self._custody.commit(self._kv, changes, who=self, now_ms=self._clock())
        )

    def purge(self, *, limit: int) -> int:
        return self._stage.call(Call(COMMIT, "purge"), lambda: self._kv.purge(limit=limit))

    def close(self) -> None:
        self._kv.close()


def _rewrite_first(kv: KeyValue, changes: tuple[Change, ...]) -> None:
    """Give the first item whose version the changes name a new one, and nothing else."""
    for change in changes:
        version = _named_version(change)
        item = None if version is None else kv.get(change.key)
        if item is None or item.version != version:
            continue
        with suppress(Conflict):
            kv.commit(
                Put(
                    item.key,
                    item.value,
                    replaces=item.version,
                    due=item.due,
                    expires_at_ms=item.expires_at_ms,
                )
            )
            return


def _named_version(change: Change) -> int | None:
    match change:
        case Put() | Delete():
            return change.replaces
        case Check():
            return change.version
        case _:
            return None


class StagedObjects:
    """An `Objects` whose calls are made on a stage."""

    def __init__(self, objects: Objects, stage: Stage) -> None:
        self._objects = objects
        self._stage = stage

    def put(self, name: str, data: Content, *, content_type: str) -> None:
        self._stage.call(
            Call(OBJECTS, f"put {name}"),
            lambda: self._objects.put(name, data, content_type=content_type),
        )

    def put_if_absent(self, name: str, data: Content, *, content_type: str) -> bool:
        return self._stage.call(
            Call(OBJECTS, f"put if absent {name}"),
            lambda: self._objects.put_if_absent(name, data, content_type=content_type),
        )

    def get(self, name: str) -> Stored | None:
        return self._stage.call(Call(OBJECTS, f"get {name}"), lambda: self._objects.get(name))

    def size_bytes(self, name: str) -> int | None:
        return self._stage.call(
            Call(OBJECTS, f"size of {name}"), lambda: self._objects.size_bytes(name)
        )

    def url(self, name: str, *, expires_in_s: int) -> str | None:
        return self._objects.url(name, expires_in_s=expires_in_s)

    def upload_url(
        self, name: str, *, content_type: str, size_bytes: int, expires_in_s: int
    ) -> DirectUpload | None:
        return self._objects.upload_url(
            name, content_type=content_type, size_bytes=size_bytes, expires_in_s=expires_in_s
        )

    def delete(self, name: str) -> None:
        self._stage.call(Call(OBJECTS, f"delete {name}"), lambda: self._objects.delete(name))
