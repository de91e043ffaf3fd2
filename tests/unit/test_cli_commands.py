"""The command line itself: exit statuses, one JSON document, one clear line, and which cloud is meant."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from slackwater.model.clock import ScaledClock
from slackwater_cli import cloud_reader, connection, embedded, files, local_run, main, run_commands
from slackwater_cli.connection import Connection
from slackwater_cli.errors import Complaint
from slackwater_cli.screen import Screen

RUN = "r" + "a" * 20


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No AWS settings, no running cloud, and a folder of our own."""
    for name in (
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "SLACKWATER_STACK",
        "AWS_ACCESS_KEY_ID",
        *connection.ENDPOINTS,
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("SLACKWATER_LOCAL_DIR", str(tmp_path / "cloud"))
    monkeypatch.setattr(connection, "REPOSITORY", tmp_path)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main.run(list(arguments))
    return ended.value.code or 0


class Reader:
    """One run called `evening`."""

    def __init__(self, receipt=None):
        self._receipt = receipt
        self.connection = SimpleNamespace(stack="slackwater")
        self.inspect = SimpleNamespace(progress=lambda run_id: SimpleNamespace(done=3, accepted=8))

    def run_of(self, name):
        if name != "evening":
            raise Complaint(f"no run is called {name}", code="unknown_run")
        return RUN

    def awaited(self, name, screen):
        return self.run_of(name)

    def receipt(self, run_id):
        return self._receipt

    def uris(self, run_id):
        return {"results.jsonl": f"s3://home/v1/runs/{run_id}/results.jsonl"}

    def rows(self, run_id):
        yield from (b'{"id":"a"}\n{"id"', b':"b"}\n')

    def report(self, run_id, *, rebuild=False):
        return b"<!doctype html>", rebuild

    def download(self, run_id, folder):
        folder.mkdir()
        return [folder / "results.jsonl"]


@pytest.fixture
def settled(monkeypatch):
    monkeypatch.setattr(
        run_commands, "_reader", lambda screen, stack: Reader({"v": 1, "run_id": RUN, "status": "settled"})
    )


@pytest.fixture
def under_way(monkeypatch):
    monkeypatch.setattr(run_commands, "_reader", lambda screen, stack: Reader())


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["results"], ["runs", "--days", "x"], ["local", "run", "missing.jsonl"]]
)
def test_bad_usage_ends_with_2_and_leaves_standard_output_empty(arguments, capsys):
    assert run(*arguments) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "command",
    [
        "",
        "local",
        "local up",
        "local down",
        "local env",
        "local status",
        "local run",
        "results",
        "receipt",
        "watch",
        "runs",
        "demo",
        "submit",
        "status",
        "cancel",
        "check",
        "profiles",
        "profiles apply",
        "profiles show",
        "profiles diff",
        "profiles check",
        "profiles schema",
        "prices",
        "prices show",
        "prices refresh",
        "dlq",
        "dlq list",
        "dlq show",
        "dlq redrive",
    ],
)
def test_every_command_explains_itself_with_an_example(command, capsys):
    assert run(*command.split(), "--help") == 0
    out = capsys.readouterr().out
    assert "slackwater" in out
    if command not in ("", "local", "profiles", "prices", "dlq"):
        assert "Example" in out


def test_results_prints_the_rows_and_nothing_else(settled, capfd):
    assert run("results", "evening") == 0
    assert capfd.readouterr().out == '{"id":"a"}\n{"id":"b"}\n'


def test_results_as_json_is_one_document_that_says_where_the_files_lie(settled, capsys):
    assert run("results", "evening", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"] == {"results.jsonl": f"s3://home/v1/runs/{RUN}/results.jsonl"}


def test_results_into_a_folder_names_what_was_written(settled, capsys, tmp_path):
    assert run("results", "evening", "--out", "answers", "--json") == 0
    assert json.loads(capsys.readouterr().out)["written"] == [str(tmp_path / "answers" / "results.jsonl")]


def test_the_receipt_as_json_is_the_receipt(settled, capsys):
    assert run("receipt", "evening", "--json") == 0
    assert json.loads(capsys.readouterr().out)["run_id"] == RUN


@pytest.mark.parametrize("command", ["results", "receipt", "watch"])
def test_an_unknown_run_ends_with_2_and_one_line(settled, command, capsys):
    assert run(command, "nobody") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "slackwater: no run is called nobody\n"


def test_trouble_is_a_json_document_too(settled, capsys):
    assert run("receipt", "nobody", "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unknown_run"


@pytest.mark.parametrize("command", ["results", "receipt"])
def test_a_run_under_way_ends_with_3_and_says_how_far_it_is(under_way, command, capsys):
    assert run(command, "evening") == 3
    assert "3 of 8 jobs are done" in capsys.readouterr().err


def test_without_any_cloud_the_caller_hears_how_to_get_one(capsys):
    assert run("runs") == 2
    assert "slackwater local up" in capsys.readouterr().err


def test_without_credentials_there_is_one_line_and_no_traceback(capsys):
    assert run("runs", "--stack", "mine") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "AWS_REGION" in err


def test_no_embedded_cloud_here(capsys):
    assert run("local", "status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"v": 1, "running": False, "pids": {}, "workers": []}
    assert run("local", "down") == 0
    assert run("local", "env") == 2


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--profile", "nobody", "default, open-eu"),
        ("--deadline", "soon", "6h"),
        ("--deadline", "2020-01-01T00:00:00Z", "passed"),
        ("--result-dialect", "klingon", "openai"),
    ],
)
def test_a_local_run_that_cannot_be_ends_before_a_cloud_is_started(option, value, said, capsys, monkeypatch):
    monkeypatch.setattr(embedded, "short_lived", lambda *_: pytest.fail("a cloud was started"))
    Path("q.jsonl").write_text("{}\n")
    assert run("local", "run", "q.jsonl", option, value) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("receipt", "status"),
    [
        ({"status": "settled", "accepted": 5, "reason": None}, 0),
        ({"status": "failed", "accepted": 0, "reason": "empty_input"}, 2),
        ({"status": "failed", "accepted": 0, "reason": "not_jsonl"}, 2),
        ({"status": "failed", "accepted": 9, "reason": "x"}, 1),
    ],
)
def test_exit_statuses_of_ended_runs(receipt, status):
    assert local_run.exit_status(receipt) == status


@pytest.mark.parametrize(
    ("slack_s", "rate"), [(86_400, 60), (21_600, 60), (6_000, 20), (600, 2), (60, 1), (3 * 86_400, 60)]
)
def test_the_whole_slack_passes_in_about_five_minutes(slack_s, rate):
    assert embedded.rate_for(slack_s, {}) == rate


def test_a_bedrock_endpoint_of_ones_own_means_real_time_but_the_one_of_local_env_does_not():
    own = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://mine:1"}
    assert embedded.rate_for(86_400, own) == 1
    ours = {
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://c:2",
        "AWS_ENDPOINT_URL_BEDROCK": "http://c:2",
        "SLACKWATER_CONTROL_URL": "http://c:2",
    }
    assert embedded.rate_for(86_400, ours) == 60
    assert embedded.callers_environment(ours) == {"SLACKWATER_CONTROL_URL": "http://c:2"}
    assert embedded.callers_environment({**ours, **own}) == {**own, "SLACKWATER_CONTROL_URL": "http://c:2"}


@pytest.fixture
def deployed(monkeypatch):
    """Records the stack that would be looked up on AWS."""
    asked = []
    monkeypatch.setattr(connection, "_deployed", lambda name, environ: asked.append(name))
    return asked


@pytest.fixture
def local_up(monkeypatch):
    cloud = SimpleNamespace(
        endpoint="http://l:1", client=None, stack="local", region="us-east-1", outputs={}, clock_rate=20, clock_origin=5
    )
    monkeypatch.setattr(embedded, "running", lambda: cloud)


def test_a_running_embedded_cloud_is_used_and_named(local_up, deployed, capsys):
    found = connection.connect(Screen(), None, {})
    assert (found.stack, found.clock, deployed) == ("local", ScaledClock(20, 5), [])
    assert "http://l:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "environ", "stack"),
    [
        ("mine", {}, "mine"),
        (None, {"SLACKWATER_STACK": "theirs"}, "theirs"),
        (None, {"AWS_ENDPOINT_URL": "http://x"}, "from-sam"),
        ("mine", {"SLACKWATER_STACK": "theirs"}, "mine"),
    ],
)
def test_a_named_stack_or_endpoint_wins_over_the_embedded_cloud(local_up, deployed, option, environ, stack):
    Path("samconfig.toml").write_text('[default.global.parameters]\nstack_name = "from-sam"\n')
    connection.connect(Screen(), option, environ)
    assert deployed == [stack]


def test_a_stack_of_another_kind_is_refused_by_name():
    with pytest.raises(Complaint, match="no output TableName"):
        Connection(None, "other", "us-east-1", {}, ScaledClock()).output("TableName")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("q.jsonl", "inbox/default/q.jsonl"),
        ("my file?.txt", "inbox/default/my-file-.txt.jsonl"),
        ("ü.jsonl", "inbox/default/jsonl.jsonl"),
    ],
)
def test_keys_in_the_inbox_are_plain(name, key):
    assert files.inbox_key("default", name) == key


def test_the_part_tally_reads_each_part_once():
    objects = {"v1/runs/r1/parts/00000/pack-p.0.jsonl": b'{"region":"us-west-2"}\n{"region":null}\n'}
    reads = []
    store = SimpleNamespace(keys=lambda prefix: list(objects), get=lambda key: reads.append(key) or objects[key])
    tally = cloud_reader.PartTally(store, "r1")
    assert tally.read(1.0) == {"us-west-2": 1}
    objects["v1/runs/r1/parts/00000/refused.0.jsonl"] = b"never read"
    objects["v1/runs/r1/parts/00001/shard-s.1.jsonl"] = b'{"region":"us-west-2"}\n{"region":"us-east-1"}\n'
    assert tally.read(2.0) == {"us-west-2": 1}  # S3 was asked a second ago
    assert tally.read(2.5, whole=True) == {"us-west-2": 2, "us-east-1": 1}
    assert len(reads) == 2


def test_a_download_leaves_no_half_file(tmp_path: Path):
    def broken(key):
        yield b"half"
        raise ConnectionError

    reader = cloud_reader.CloudReader.__new__(cloud_reader.CloudReader)
    reader.inspect = SimpleNamespace(outputs=lambda run_id: {"results.jsonl": "k"})
    reader.store = SimpleNamespace(stream=broken)
    with pytest.raises(ConnectionError):
        reader.download("r1", tmp_path / "out")
    assert not (tmp_path / "out" / "results.jsonl").exists()


def test_a_report_is_written_under_the_runs_name_or_where_it_is_asked_for(settled, capsys, tmp_path):
    assert run("report", "evening") == 0
    assert (tmp_path / "evening-report.html").read_bytes() == b"<!doctype html>"
    assert run("report", "evening", "--out", "deep/page.html", "--rebuild", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["written"] == str(tmp_path / "deep" / "page.html") and said["rebuilt"] is True
    assert (tmp_path / "deep" / "page.html").exists()


def test_a_run_under_way_has_no_report_yet(under_way, tmp_path):
    assert run("report", "evening") == 3
    assert not list(tmp_path.glob("*.html"))
