"""One running service, and one origin of pictures, for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.handlers.clients import TOPAZ, Apiframe, VicSee
from tests.running import Clock, Origin, Running, picture, running


@pytest.fixture(scope="module")
def clock() -> Clock:
    """The service's clock."""
    return Clock()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[Running]:
    """A service where the faithful model is installed; each test has an account of its own."""
    folder = tmp_path_factory.mktemp("service")
    large = 600_000_000
    with running(
        folder, clock=clock, models=frozenset({TOPAZ}), max_source_pixels=large
    ) as service:
        yield service


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    """A web server of pictures."""
    with Origin({"/photo.png": picture()}).serving() as origin:
        yield origin


@pytest.fixture(scope="module")
def photo(origin: Origin) -> str:
    """The address of a picture of 16 x 12."""
    return f"{origin.url}/photo.png"


@pytest.fixture
def apiframe(service: Running) -> Apiframe:
    """A new customer with 1,000 credits."""
    return Apiframe(service, service.account())


@pytest.fixture
def vicsee(service: Running) -> VicSee:
    """A new customer with 1,000 credits."""
    return VicSee(service, service.account())
