"""Why a request about jobs is refused.

JobsError
├── JobUnknown            no such job, or somebody else's
├── JobForeign            the job exists and is somebody else's
├── SourceUnusable        the source's address leads to no picture of ours
├── ModelUnavailable      the model's weights are not installed here
│   └── FacesUnavailable  those of face enhancement are not
├── IdempotencyKeyInvalid the key is empty, too long or not printable ASCII
├── IdempotencyMismatch   the key was used with another body
├── IllegalTransition     a job cannot go from where it is to there
├── JobFinished           the job is at its end
├── DeliveryUnknown       no such event was to be told, or not of late
├── DeliveryOver          news of progress that has ended
├── SecretRotating        the secret before the present one signs still
├── LeaseLost             another worker has taken the job over
├── ResultMissing         there is no result yet, or none any more
├── RetentionTooLong      results are not kept that long here
├── TooManyAtOnce         all turns at something slow are taken
│   └── TooManyStreams    those at a stream of events are
├── EventIdInvalid        an id that no event of ours has
├── WaitInvalid           a preferred wait that is none, or too long
└── UploadRefused         an upload that cannot be taken
"""


class JobsError(Exception):
    """A refusal. The class's docstring is the default message."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class JobUnknown(JobsError):
    """Job not found"""


class JobForeign(JobUnknown):
    """The job belongs to another account"""


class SourceUnusable(JobsError):
    """The image address could not be used"""


class ModelUnavailable(JobsError):
    """This model is not available: its weights are not installed"""


class FacesUnavailable(ModelUnavailable):
    """Face enhancement is not available: its weights are not installed"""


class IdempotencyKeyInvalid(JobsError):
    """Idempotency-Key must have 1 to 255 printable ASCII characters"""


class IdempotencyMismatch(JobsError):
    """This Idempotency-Key was already used with another request body"""


class IllegalTransition(JobsError):
    """The job is not in a state from which that is possible"""


class JobFinished(JobsError):
    """The job is at its end already"""


class DeliveryUnknown(JobsError):
    """The job has no such webhook, or it is older than 30 days"""


class DeliveryOver(JobsError):
    """The job has ended: its progress is not told any more"""


class SecretRotating(JobsError):
    """The secret before this one is still in use"""


class LeaseLost(JobsError):
    """Another worker has taken the job over"""


class ResultMissing(JobsError):
    """The job has no result"""


class RetentionTooLong(JobsError):
    """Results are not kept that long"""


class TooManyAtOnce(JobsError):
    """Too many images are being fetched at the moment"""


class TooManyStreams(TooManyAtOnce):
    """Too many streams of events are open"""


class EventIdInvalid(JobsError):
    """Last-Event-ID is not the id of an event"""


class WaitInvalid(JobsError):
    """Prefer: wait must be a whole number of seconds from 0 to 60"""


class UploadRefused(JobsError):
    """The file cannot be accepted"""
