"""What a function reads from its environment."""

import pytest

from slackwater.model.errors import ConfigurationError
from slackwater.settings import Settings

GIVEN = {
    "AWS_REGION": "us-east-1",
    "SLACKWATER_TABLE": "ledger",
    "SLACKWATER_BUCKET": "home",
    "SLACKWATER_STACK_ARN": "arn:aws:cloudformation:us-east-1:000000000000:stack/s/1",
}


def test_what_the_template_does_not_set_has_its_default():
    read = Settings.from_env(GIVEN)
    assert (read.table, read.region) == ("ledger", "us-east-1")
    assert (read.retain_days, read.concurrency, read.clock_rate) == (30, 32, 1.0)
    assert read.batch_enabled
    assert read.batch_buckets == {"us-east-1": "home"}


def test_every_kind_of_value_is_read():
    read = Settings.from_env(
        GIVEN
        | {
            "SLACKWATER_SATELLITE_REGIONS": "us-west-2, eu-west-2,",
            "SLACKWATER_BATCH_BUCKET_PREFIX": "batch",
            "SLACKWATER_CLOCK_RATE": "600",
            "SLACKWATER_RETAIN_DAYS": "7",
        }
    )
    assert read.batch_buckets == {"us-west-2": "batch-us-west-2", "eu-west-2": "batch-eu-west-2", "us-east-1": "home"}
    assert (read.clock_rate, read.retain_days) == (600.0, 7)
    assert Settings.from_env(GIVEN | {"SLACKWATER_BATCH_ENABLED": "false"}).batch_buckets == {}


def test_an_empty_variable_is_none_at_all():
    assert Settings.from_env(GIVEN | {"SLACKWATER_CONCURRENCY": ""}).concurrency == 32


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "257"),
        ("CONCURRENCY", "many"),
        ("RETAIN_DAYS", "0"),
        ("RETAIN_DAYS", "1.5"),
        ("CLOCK_RATE", "0"),
        ("CLOCK_RATE", "nan"),
        ("DRAIN_JOBS_PER_S", "inf"),
        ("CLOCK_ORIGIN", "inf"),
        ("BATCH_ENABLED", "perhaps"),
    ],
)
def test_a_wrong_variable_is_named_without_its_value(name: str, value: str):
    with pytest.raises(ConfigurationError) as told:
        Settings.from_env(GIVEN | {f"SLACKWATER_{name}": value})
    assert f"SLACKWATER_{name}" in str(told.value)
    assert value not in str(told.value).replace(name, "")


def test_all_that_is_missing_is_named_at_once():
    with pytest.raises(ConfigurationError, match="SLACKWATER_TABLE, SLACKWATER_STACK_ARN"):
        Settings.from_env({"SLACKWATER_BUCKET": "home"})
