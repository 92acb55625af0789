"""Why money says no.

BillingError
├── KeyFormatInvalid     a typo, told by the key's checksum without a look-up
├── KeyUnknown           no such key, or a revoked one
│   └── KeyExpired       a key whose time is over
├── KeyInactive          a paused key
├── ScopeMissing         a key that may not do this, or may not let another do it
├── KeyNotFound          somebody named a key that the account does not have
├── SandboxBounded       a sandbox key was to have a scope of the live world
├── KeyEnded             a key that is revoked, expired or replaced cannot be changed any more
├── MemberNotFound       somebody named a member whom the account does not have
├── OwnerStays           an account without an owner would be nobody's
├── TooManyMembers       the account has as many members as it may
├── TooManyKeys          the account has as many keys as it may
├── InsufficientCredits  the balance does not cover the price
│   └── CreditsOwed      a payment was taken back after its credits were spent
├── CapReached           a cap of the key's own
├── TooManyPromotions    an operator gave an account too many
├── TooManyInFlight      the account's limit of unfinished jobs is reached
├── RateLimited          the day's requests are used up
├── TooManyRequests      a key asks too often within a minute
├── OverMaxCredits       dearer than the request said it may be
├── PlanUnknown          an operator named a plan that does not exist
├── AccountUnknown       an operator named an account that does not exist
├── OutputTooLarge       larger than the price list goes
├── PackUnknown          no such pack of credits is sold
├── AlreadySubscribed    the account has a subscription of that pack that still runs
├── PaymentsOff          nothing is sold here
├── PaymentsUnavailable  who takes the payments cannot be reached
├── CardMissing          there is no card on file that could be charged
└── EventForged          an event whose signature is wrong, stale or missing
"""


class BillingError(Exception):
    """A refusal on account of money. The class's docstring is the default message."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class KeyFormatInvalid(BillingError):
    """Invalid API key format"""


class KeyUnknown(BillingError):
    """Invalid API key"""


class KeyExpired(KeyUnknown):
    """API key has expired"""


class KeyInactive(BillingError):
    """API key is inactive"""


class ScopeMissing(BillingError):
    """This key lacks a scope"""

    def __init__(self, scope: str, message: str | None = None) -> None:
        super().__init__(message or f"This key lacks the scope {scope}")
        self.scope = scope


class KeyNotFound(BillingError):
    """Key not found"""


class SandboxBounded(BillingError):
    """A sandbox key can have the scopes jobs:write and jobs:read alone"""


class KeyEnded(BillingError):
    """This key has ended"""


class MemberNotFound(BillingError):
    """Member not found"""


class OwnerStays(BillingError):
    """Who opened the account cannot be removed: it would be nobody's"""


class TooManyMembers(BillingError):
    """Too many members"""


class TooManyKeys(BillingError):
    """Too many keys"""


class InsufficientCredits(BillingError):
    """Insufficient credits"""

    def __init__(self, message: str | None = None, *, required: int, available: int) -> None:
        super().__init__(message)
        self.required = required
        self.available = available


class CreditsOwed(InsufficientCredits):
    """Credits are owed"""

    def __init__(self, *, required: int, owed: int) -> None:
        super().__init__(
            f"This account owes {owed} credits of payments that were taken back: buy at least that",
            required=required,
            available=0,
        )
        self.owed = owed


class CapReached(BillingError):
    """A spending cap of this key is reached"""


class TooManyPromotions(BillingError):
    """This account has too many promotions"""


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


class TooManyRequests(BillingError):
    """Too many requests"""

    def __init__(self, *, limit: int, wait_s: int, resets_in_s: int) -> None:
        super().__init__(
            f"Rate limit exceeded. Limit: {limit}/minute. Try again in {wait_s} seconds"
        )
        self.limit = limit
        self.wait_s = wait_s
        self.resets_in_s = resets_in_s


class OverMaxCredits(BillingError):
    """The job costs more than it may"""

    def __init__(self, *, required: int, most: int) -> None:
        super().__init__(f"This job costs {required} credits; maxCredits allows {most}")
        self.required = required
        self.most = most


class PlanUnknown(BillingError):
    """No such plan"""


class AccountUnknown(BillingError):
    """No such account"""


class OutputTooLarge(BillingError):
    """The output would be larger than any on offer"""


class PackUnknown(BillingError):
    """No such pack of credits"""


class AlreadySubscribed(BillingError):
    """This account has that subscription already; it is seen, and ended, in the portal"""


class PaymentsOff(BillingError):
    """Payments are not set up here"""


class PaymentsUnavailable(BillingError):
    """The payment service cannot be reached; nothing was charged. Try again"""


class CardMissing(BillingError):
    """There is no saved card; buy a pack with saveCard first"""


class EventForged(BillingError):
    """The event's signature is wrong, stale or missing"""
