"""Admission: what an order comes to for who asks, and what may be said against it now."""

from collections.abc import Callable, Collection
from typing import NamedTuple

from billing.accounts import Account, Balance
from billing.errors import CreditsOwed, InsufficientCredits, TooManyInFlight
from billing.keys import Caller
from inference.images import ImageInfo, output_size
from inference.params import UpscaleParams
from jobs import sandbox
from jobs.errors import FacesUnavailable, ModelUnavailable


class Terms(NamedTuple):
    """What an order comes to once its picture is known: every parameter, and the price."""

    params: UpscaleParams
    price_credits: int


def check_affordable(account: Account, balance: Balance, *, price_credits: int) -> None:
    """Raise what the balance, or the unfinished jobs, have against a job of that price.

    For what costs nothing the balance is no matter.
    """
    if balance.owed and price_credits:
        raise CreditsOwed(required=price_credits, owed=balance.owed)
    if price_credits and balance.spendable < price_credits:
        raise InsufficientCredits(required=price_credits, available=balance.spendable)
    check_in_flight(account, balance)


def terms_for(caller: Caller, usual: Terms, info: ImageInfo) -> Terms:
    """The terms for that caller: in the sandbox nothing is charged, and little made.

    Raises `OutputTooLarge`.
    """
    if not caller.key.is_sandbox:
        return usual
    sandbox.check_size(*output_size(info, usual.params.factor))
    return usual._replace(price_credits=0)


def check_served(
    caller: Caller,
    params: UpscaleParams,
    *,
    models: Collection[str],
    has_faces: Callable[[], bool],
) -> None:
    """Raise `ModelUnavailable` if that cannot be served now; in the sandbox everything can."""
    if caller.key.is_sandbox:
        return
    if params.model not in models:
        raise ModelUnavailable
    if params.faces is not None and not has_faces():
        raise FacesUnavailable


def check_in_flight(account: Account, balance: Balance) -> None:
    """Raise `TooManyInFlight` if no further job may be unfinished."""
    if balance.in_flight >= account.max_in_flight:
        raise TooManyInFlight(limit=account.max_in_flight)
