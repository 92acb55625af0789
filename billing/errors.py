"""Why money says no.

BillingError
├── KeyFormatInvalid     a typo, told by the key's checksum without a look-up
├── KeyUnknown           no such key, or a revoked one
├── KeyInactive          a paused key
├── InsufficientCredits  the balance does not cover the price
├── CapReached           a cap of the key's own
├── TooManyInFlight      the account's limit of unfinished jobs is reached
├── RateLimited          the day's requests are used up
├── AccountUnknown       an operator named an account that does not exist
└── OutputTooLarge       larger than the price list goes
"""


class BillingError(Exception):
    """A refusal on account of money. The class's docstring is the default message."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class KeyFormatInvalid(BillingError):
    """Invalid API key format"""


class KeyUnknown(BillingError):
    """Invalid API key"""


class KeyInactive(BillingError):
    """API key is inactive"""


class InsufficientCredits(BillingError):
    """Insufficient credits"""

    def __init__(self, *, required: int, available: int) -> None:
        super().__init__()
        self.required = required
        self.available = available


class CapReached(BillingError):
    """A spending cap of this key is reached"""


class TooManyInFlight(BillingError):
    """Too many unfinished jobs"""

    def __init__(self, *, limit: int) -> None:
        super().__init__(f"Too many unfinished jobs: this account may have {limit} at a time")
        self.limit = limit


class RateLimited(BillingError):
    """Rate limit exceeded"""

    def __init__(self, *, limit: int, resets_at_ms: int) -> None:
        super().__init__()
        self.limit = limit
        self.resets_at_ms = resets_at_ms


class AccountUnknown(BillingError):
    """No such account"""


class OutputTooLarge(BillingError):
    """The output would be larger than any on offer"""
