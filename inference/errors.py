"""Why a picture cannot be enlarged, or weights cannot be had.

InferenceError
├── ImageError          something about the customer's picture
│   ├── NotAnImage      neither JPEG, PNG, WebP nor TIFF
│   ├── TruncatedImage  the file ends too early
│   ├── CorruptImage    the file is whole, what is inside is not
│   ├── AnimatedImage   more than one frame or page
│   ├── UnsupportedImage  a kind of picture that is not taken
│   ├── TooManyPixels   more pixels than allowed
│   └── OutputTooLarge  the result would not fit the output format
├── PromptUnreadable    something about the customer's words
├── EngineError         something about this installation
│   ├── WeightsMissing  a weights file is not there
│   ├── WeightsBad      a weights file is not the one expected
│   ├── ModelUnknown    no such model, variant, or no weights for it here
│   ├── NotANumber      the network gave NaN or infinity
│   ├── OutOfMemory     even the smallest pieces do not fit into memory
│   └── DeviceMissing   the processor that was asked for is not there
└── DownloadError           a file of weights could not be pulled
    ├── DownloadUnreachable  no connection to its source
    ├── DownloadRefused      the source answered, but not with the file
    ├── DownloadInterrupted  the file did not come to its end, however often tried
    ├── DownloadWrong        what came is not the file that the catalogue names
    └── DownloadUnwritable   the folder does not take it: full, or not ours
"""

from typing import ClassVar


class InferenceError(Exception):
    """The picture could not be enlarged. The class's docstring is the default message."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class ImageError(InferenceError):
    """The image cannot be processed"""

    code: ClassVar[str] = "INVALID_IMAGE"


class NotAnImage(ImageError):
    """The file is not a JPEG, PNG, WebP or TIFF image"""

    code = "NOT_AN_IMAGE"


class TruncatedImage(ImageError):
    """The image is incomplete: the file ends before the picture does"""

    code = "TRUNCATED_IMAGE"


class CorruptImage(ImageError):
    """The image is damaged and cannot be read"""

    code = "CORRUPT_IMAGE"


class AnimatedImage(ImageError):
    """Animated images are not supported; send a single frame"""

    code = "ANIMATED_IMAGE"


class UnsupportedImage(ImageError):
    """This kind of image is not supported"""

    code = "UNSUPPORTED_IMAGE"


class TooManyPixels(ImageError):
    """The image has more pixels than are allowed"""

    code = "TOO_MANY_PIXELS"


class OutputTooLarge(ImageError):
    """The enlarged image would not fit its file format"""

    code = "OUTPUT_TOO_LARGE"


class PromptUnreadable(InferenceError):
    """The prompt cannot be turned into tokens"""

    code: ClassVar[str] = "PROMPT_UNREADABLE"


class EngineError(InferenceError):
    """The image could not be enlarged because of a fault in this installation"""


class WeightsMissing(EngineError):
    """A weights file is missing"""


class WeightsBad(EngineError):
    """A weights file is not the one that the catalogue names"""


class ModelUnknown(EngineError):
    """This model or variant is not served here"""


class NotANumber(EngineError):
    """The network gave values that are not numbers; nothing was delivered"""


class OutOfMemory(EngineError):
    """The memory does not suffice, however small the pieces"""


class DeviceMissing(EngineError):
    """The device that was asked for is not there"""


class DownloadError(InferenceError):
    """The weights could not be pulled"""


class DownloadUnreachable(DownloadError):
    """The source of the weights cannot be reached"""


class DownloadRefused(DownloadError):
    """The source of the weights does not give them out"""


class DownloadInterrupted(DownloadError):
    """The weights did not arrive completely; pulling again continues where it ended"""


class DownloadWrong(DownloadError):
    """What arrived is not the file that the catalogue names"""


class DownloadUnwritable(DownloadError):
    """The weights cannot be written to their folder"""
