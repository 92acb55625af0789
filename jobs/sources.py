"""Where a job's picture comes from: our own files, a `data:` URI, or the web. Fetched once."""

import base64
from dataclasses import dataclass

from jobs.errors import SourceUnusable
from jobs.ids import Clock
from jobs.links import Links, job_of_result
from jobs.outbound import Outbound
from jobs.records import find_job
from jobs.retention import is_expired
from jobs.uploads import Uploads
from storage.kv import KeyValue
from storage.objects import NAME, Objects

MAX_SOURCE_BYTES = 50 * 1024 * 1024
MAX_DATA_URI_BYTES = 10 * 1024 * 1024
MAX_DATA_URI_HEAD_CHARS = 200
FETCH_DEADLINE_S = 20.0


@dataclass(frozen=True)
class Sources:
    """Turns the address that a customer gave into bytes."""

    kv: KeyValue
    objects: Objects
    uploads: Uploads
    outbound: Outbound
    links: Links
    clock: Clock

    def fetch(self, url: str) -> bytes:
        """The bytes behind an address, at most `MAX_SOURCE_BYTES`.

        Raises `SourceUnusable`, or an `OutboundError` for what the web did.
        """
        if url.startswith("data:"):
            return _decoded(url)
        own = self.links.object_behind(url)
        if own is not None:
            return self._own_file(own)
        return self.outbound.fetch(url, deadline_s=FETCH_DEADLINE_S, max_bytes=MAX_SOURCE_BYTES)

    def _own_file(self, object_name: str) -> bytes:
        stored = self.objects.get(object_name) if self._is_served(object_name) else None
        if stored is None:
            raise SourceUnusable("There is no such file here, or its time is over")
        if stored.size_bytes > MAX_SOURCE_BYTES:
            stored.chunks.close()
            raise SourceUnusable(f"The file is larger than {MAX_SOURCE_BYTES} bytes")
        return b"".join(stored.chunks)

    def _is_served(self, object_name: str) -> bool:
        if not NAME.fullmatch(object_name):
            return False
        if self.uploads.find(object_name) is not None:
            return True
        job_id = job_of_result(object_name)
        kept = None if job_id is None else find_job(self.kv, job_id)
        if kept is None or kept.job.result is None or is_expired(kept.job, now_ms=self.clock()):
            return False
        return kept.job.result.object_name == object_name


def _decoded(uri: str) -> bytes:
    head, comma, text = uri.partition(",")
    if not comma or not head.endswith(";base64") or len(head) > MAX_DATA_URI_HEAD_CHARS:
        raise SourceUnusable("A data: URI must hold base64, as in data:image/png;base64,…")
    if len(text) > (MAX_DATA_URI_BYTES + 2) // 3 * 4:
        raise SourceUnusable(f"A data: URI may hold at most {MAX_DATA_URI_BYTES} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # binascii.Error is one; so is text that is not ASCII
        raise SourceUnusable("The data: URI is not valid base64") from error


def shown(url: str) -> str:
    """The address as a record keeps it: a `data:` URI without its data."""
    return f"{url.partition(',')[0]},…" if url.startswith("data:") else url
