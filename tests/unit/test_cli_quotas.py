"""`slackwater quotas`: one JSON document each, exit statuses, and what is refused before anything is written."""

import json

import boto3
import pytest

from slackwater.adapters.account import AwsAccount
from slackwater.adapters.ledger.quota import QuotaLedger
from slackwater.model.clock import ScaledClock
from slackwater.policy.quota_names import Quota
from slackwater.usecases.check_stack import CannotAsk
from slackwater_cli import connection, main
from slackwater_cli.connection import Connection
from tests.unit.rig import HAIKU

POOL = f"us-west-2|global|{HAIKU}"
LISTED = [
    Quota("Global cross-region model inference requests per minute for Anthropic Claude Haiku 4.5", 1000.0),
    Quota("Global cross-region model inference tokens per minute for Anthropic Claude Haiku 4.5", 4_000_000.0),
]


@pytest.fixture
def ledger(table, monkeypatch):
    """A stack in moto's memory, with the shipped profiles."""
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="home")
    deployed = Connection(
        client=lambda service, region: boto3.client(service, region_name=region or "us-east-1"),
        stack="mine",
        region="us-east-1",
        outputs={"TableName": "ledger", "BucketName": "home"},
        clock=ScaledClock(),
    )
    monkeypatch.setattr(connection, "connect", lambda screen, stack: deployed)
    monkeypatch.setattr(AwsAccount, "quotas", lambda account, region: LISTED)
    return QuotaLedger(table)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main.run(["quotas", *arguments])
    return ended.value.code or 0


def document(capsys, *arguments: str, status: int = 0) -> dict:
    assert run(*arguments, "--json") == status
    return json.loads(capsys.readouterr().out)


def test_a_limit_set_by_hand_is_shown_with_its_source_kept_by_a_sync_and_replaced_by_force(ledger, capsys):
    told = document(capsys, "set", POOL, "--rpm", "60")
    assert (told["pool"], told["told"]["rpm"], told["told"]["tpm"], told["told"]["by"]) == (POOL, 60, None, "hand")
    shown = {one["pool"]: one for one in document(capsys, "show", "--profile", "default")["pools"]}
    assert len(shown) == 3
    assert (shown[POOL]["requests"]["known"], shown[POOL]["requests"]["per_minute"]) == ("told", 60)
    synced = document(capsys, "sync", "--profile", "default")
    assert (synced["ok"], synced["kept"], len(synced["told"])) == (True, [POOL], 2)
    assert document(capsys, "sync", "--profile", "default", "--force")["told"][POOL] == {"rpm": 1000, "tpm": 4_000_000}
    assert document(capsys, "set", POOL, "--clear")["told"] is None
    assert ledger.get(POOL)[1] is None


def test_a_pool_may_be_named_by_its_parts(ledger):
    assert run("set", "--region", "us-west-2", "--family", "global", "--model", HAIKU, "--tpm", "9") == 0
    assert ledger.get(POOL)[1].tpm == 9


def test_a_region_that_cannot_be_asked_ends_with_status_1_and_leaves_its_limits(ledger, monkeypatch, capsys):
    def asked(account, region):
        if region == "us-west-2":
            raise CannotAsk("AccessDeniedException")
        return []

    run("set", POOL, "--rpm", "60")
    capsys.readouterr()
    monkeypatch.setattr(AwsAccount, "quotas", asked)
    found = document(capsys, "sync", "--profile", "default", status=1)
    assert (found["ok"], found["told"], found["unreadable"]) == (False, {}, {"us-west-2": "AccessDeniedException"})
    assert len(found["missing"]) == 2
    assert ledger.get(POOL)[1].rpm == 60


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", POOL),
        ("set", POOL, "--rpm", "5", "--clear"),
        ("set", POOL, "--rpm", "0"),
        ("set", "--rpm", "5"),
        ("set", "--region", "us-west-2", "--rpm", "5"),
        ("set", POOL, "--region", "us-west-2", "--rpm", "5"),
        ("set", f"us-west-2|regional|{HAIKU}", "--rpm", "5"),
        ("set", f"us-west-2|global|global.{HAIKU}", "--rpm", "5"),
        ("set", f"moon-1|global|{HAIKU}", "--rpm", "5"),
        ("set", "nonsense", "--rpm", "5"),
        ("show", "--profile", "nobody"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_written(ledger, table, arguments):
    assert run(*arguments) == 2
    assert table.get((f"QUOTA#{POOL}", "LEDGER")) is None


def test_people_see_a_table_and_what_rests(ledger, capsys):
    run("set", POOL, "--rpm", "60")
    assert run("show", "--profile", "default") == 0
    said = capsys.readouterr()
    assert "requests/min" in said.out
    assert "0 of 60 told" in said.out
    assert f"{POOL}: 60 requests and – tokens a minute (hand), 20" in said.err
