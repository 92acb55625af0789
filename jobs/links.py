"""Our own addresses of files, and the way back from an address to the file.

Results live at `<public>/files/images/<job>-1.<ext>`, uploads at
`<public>/files/uploads/<id>.<ext>`. The path behind `/files/` is the name in the object store.
"""

import re
from typing import NamedTuple
from uuid import UUID

from inference.params import OutputFormat

RESULTS = "images"
UPLOADS = "uploads"
SOURCES = "sources"

CONTENT_TYPES: dict[OutputFormat, str] = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "avif": "image/avif",
}
_UPLOADED: tuple[OutputFormat, ...] = ("jpg", "png", "webp", "tiff")
_UPLOAD = re.compile(rf"{UPLOADS}/[0-9a-f]{{32}}\.({'|'.join(_UPLOADED)})")
FORMATS = {CONTENT_TYPES[format_]: format_ for format_ in _UPLOADED}
"""What may be uploaded, by content type."""


class Links(NamedTuple):
    """Addresses under the service's public URL (no slash at its end)."""

    public_url: str

    def of(self, object_name: str) -> str:
        """The public address of a result or an upload."""
        return f"{self._files}{object_name}"

    def object_behind(self, url: str) -> str | None:
        """The object name that one of our addresses stands for; None for any other address."""
        return url.removeprefix(self._files) if url.startswith(self._files) else None

    @property
    def _files(self) -> str:
        return f"{self.public_url}/files/"


def result_name(job_id: UUID, format_: OutputFormat) -> str:
    """Where a job's only result is kept."""
    return f"{RESULTS}/{job_id}-1.{format_}"


def source_name(job_id: UUID, format_: OutputFormat) -> str:
    """Where the bytes that a job was priced for are kept."""
    return f"{SOURCES}/{job_id}.{format_}"


def job_of_source(object_name: str) -> UUID | None:
    """The job whose source would have this name, or None if no job's could."""
    folder, _, file = object_name.partition("/")
    try:
        return UUID(file.partition(".")[0]) if folder == SOURCES else None
    except ValueError:
        return None


def upload_name(upload_id: str, format_: OutputFormat) -> str:
    """Where an uploaded file is kept."""
    return f"{UPLOADS}/{upload_id}.{format_}"


def is_upload(object_name: str) -> bool:
    """Whether an upload could have this name."""
    return _UPLOAD.fullmatch(object_name) is not None


def job_of_result(object_name: str) -> UUID | None:
    """The job whose result would have this name, or None if no job's could."""
    folder, _, file = object_name.partition("/")
    stem, _, _ = file.rpartition("-1.")
    if folder != RESULTS:
        return None
    try:
        return UUID(stem)
    except ValueError:
        return None
