"""The address of a webhook's receiver, held to what we would ever connect to."""

from fastapi.exceptions import RequestValidationError

from jobs.outbound import OutboundError
from jobs.services import Services


def check_receiver(url: str, services: Services, *, member: str) -> None:
    """Refuse an address that is not http or https, has credentials, or spells a private address.

    A name that leads to one is found at each attempt, when it is looked up. `member` is what the
    body calls the address.
    """
    try:
        services.outbound.check(url)
    except OutboundError as error:
        problem = {"type": "value_error", "loc": ("body", member), "msg": str(error)}
        raise RequestValidationError([problem]) from None
