import pytest

from tests.training.teacher.fake_endpoint import answering, serving


@pytest.fixture(scope="session")
def endpoint_process():
    """One server for all tests of a session."""
    with serving() as fake:
        yield fake


@pytest.fixture
def endpoint(endpoint_process):
    """The server, as new."""
    endpoint_process.reset(answering())
    return endpoint_process
