"""A sample of the walk for every change: with its roles' policies a file becomes a receipt, without one permission not.

The whole of it is test_iam.py, by `make test-iam`.
"""

from collections.abc import Iterator

import pytest

from local import cloud as clouds
from tests.iam import policies
from tests.iam.walk import questions
from tests.integration.driver import Driver

ROLE, ACTION = "DispatchFunctionRole", "bedrock:InvokeModel"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with clouds.start(state_dir=tmp_path_factory.mktemp("iam"), clock_rate=60, iam=True, satellites=()) as running:
        yield Driver(running)


def test_a_file_becomes_a_receipt_and_without_one_permission_it_does_not(driver: Driver):
    run = driver.settled(driver.drop("allowed", questions("allowed", 3), lane="on_demand"), within_s=120)
    assert run.receipt["succeeded"] == 3
    assert [d for d in policies.decisions(driver.cloud) if not d.allowed] == []
    with policies.taken_away(driver.cloud, ROLE, ACTION):
        key = driver.drop("denied", questions("denied", 3), lane="on_demand", deadline="6h")
        denied = policies.denials(driver.cloud)
        assert driver.meta(driver.run_of(key))["state"]["S"] != "settled"
    assert denied == {(ROLE, ACTION)}
