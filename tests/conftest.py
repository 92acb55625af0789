"""What tests of several packages share: servers that are started once, when first asked for."""

import os
from collections.abc import Iterator

import pytest

from tests.ministack import CREDENTIALS, ministack
from tests.postgres import has_pooler, pooler, postgres, programs

# The asserts of the contract suites explain themselves, as those of test files do.
pytest.register_assert_rewrite(
    "storage.contract.key_value_case",
    "storage.contract.key_value_changes",
    "storage.contract.key_value_counters",
    "storage.contract.key_value_limits",
    "storage.contract.key_value_model",
    "storage.contract.key_value_pages",
    "storage.contract.key_value_purges",
    "storage.contract.key_value_races",
    "storage.contract.key_value_snapshots",
    "storage.contract.key_value_times",
    "storage.contract.objects_contract",
)

# Nobody's account: modal reads this when it is imported, and then has nothing to call with.
os.environ["MODAL_CONFIG_PATH"] = os.devnull
for _name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
    os.environ.pop(_name, None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """How often the long tests do what they do."""
    parser.addoption("--kills", type=int, default=3, help="of a service under load")
    parser.addoption("--histories", type=int, default=20, help="of all that moves money")
    parser.addoption("--races", type=int, default=1, help="of processes for one balance")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the races of processes as often as asked for."""
    if metafunc.function.__name__ == "test_processes_never_oversell":
        metafunc.fixturenames.append("race")
        metafunc.parametrize("race", range(metafunc.config.getoption("--races")))


@pytest.fixture
def kills(pytestconfig: pytest.Config) -> int:
    """How often a service is killed."""
    count: int = pytestconfig.getoption("--kills")
    return count


@pytest.fixture(scope="session")
def aws_endpoint() -> Iterator[str]:
    """The endpoint of DynamoDB and S3 on loopback, with credentials for it in the environment."""
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    try:
        with ministack() as endpoint:
            yield endpoint
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """An empty database of a PostgreSQL server on loopback."""
    _need(programs() is not None, "PostgreSQL")
    with postgres() as url:
        yield url


@pytest.fixture(scope="session")
def pooled_url(postgres_url: str) -> Iterator[str]:
    """The same database behind PgBouncer in transaction mode."""
    _need(has_pooler(), "PgBouncer")
    with pooler(postgres_url) as url:
        yield url


def _need(is_there: bool, what: str) -> None:
    """Leave a test out on a machine without a server; CI says that nothing may be left out."""
    if is_there:
        return
    told = f"{what} is not installed (Debian's packages: postgresql, pgbouncer)"
    if os.environ.get("TEST_ALL"):
        pytest.fail(told)
    pytest.skip(told)
