"""Whose Bedrock a local cloud calls, and what of the caller's machine reaches its processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.settings import Settings, child_environment, choose_bedrock, emulator_environment

CONTROL, RUNTIME = "AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"


def settings(**changes):
    values = {
        "state_dir": Path("/s"),
        "template": Path("/t.yaml"),
        "host": "127.0.0.1",
        "port": None,
        "clock_rate": 60.0,
        "clock_origin": 1_800_000_000,
        "own_bedrock": True,
        "bedrock_url": None,
        "runtime_url": None,
        "batch_enabled": True,
        "docker": False,
        "detached": False,
        **changes,
    }
    return Settings(**values)


def test_without_a_callers_endpoint_our_emulator_follows_the_clock():
    assert choose_bedrock({}, None, 3600.0) == (None, None, 3600.0, True)


def test_an_endpoint_given_by_name_serves_both_planes_and_follows_the_clock():
    assert choose_bedrock({}, "http://e", 3600.0) == ("http://e", "http://e", 3600.0, True)


@pytest.mark.parametrize(
    ("environ", "batch"),
    [
        ({RUNTIME: "http://r"}, False),
        ({CONTROL: "http://c"}, True),
        ({CONTROL: "http://c", RUNTIME: "http://r"}, True),
    ],
)
def test_a_callers_endpoint_wins_and_runs_in_real_time(environ, batch):
    chosen = choose_bedrock(environ, "http://e", 3600.0)
    assert chosen == (environ.get(CONTROL), environ.get(RUNTIME), 1.0, batch)


def test_an_empty_variable_is_no_endpoint():
    assert choose_bedrock({RUNTIME: ""}, None, 60.0) == (None, None, 60.0, True)


def test_settings_survive_the_command_line():
    given_ = settings(satellites=("us-west-2",), parameters={"RetainDays": "7"}, port=4999)
    assert Settings.loads(given_.dumps()) == given_


def test_the_template_is_told_clock_batch_and_satellites_and_a_callers_value_wins():
    told = settings(
        batch_enabled=False, satellites=("us-west-2", "eu-north-1"), parameters={"ClockRate": "5"}
    ).template_parameters()
    assert told == {
        "ClockRate": "5",
        "ClockOrigin": "1800000000",
        "BatchEnabled": "false",
        "SatelliteRegions": "us-west-2,eu-north-1",
        "ReceiveVisibilitySeconds": "90",
    }


@given(
    st.dictionaries(
        st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=20).map("AWS_".__add__),
        st.text(min_size=1, max_size=5),
    )
)
def test_no_aws_setting_of_the_caller_reaches_the_cloud(theirs):
    seen = child_environment(theirs)
    assert seen == {
        **child_environment({}),
        **{k: v for k, v in theirs.items() if k in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_CA_BUNDLE")},
    }


def test_loopback_goes_past_the_callers_proxy_and_his_own_exceptions_stay():
    seen = child_environment({"HTTP_PROXY": "http://proxy", "NO_PROXY": "internal"})
    assert seen["NO_PROXY"] == seen["no_proxy"] == "internal,127.0.0.1,localhost"
    assert seen["HTTP_PROXY"] == "http://proxy"


def test_the_callers_python_settings_neither_replace_the_layer_nor_keep_it_from_being_compiled():
    ours = child_environment({"PYTHONPATH": "/elsewhere", "PYTHONDONTWRITEBYTECODE": "1"})
    assert not {name for name in ours if name.startswith("PYTHON")}


def test_the_emulator_is_bound_to_loopback_and_keeps_its_scratch_in_the_state_folder():
    env = emulator_environment(settings(), {"PATH": "/bin"}, 5001, "http://c", "http://r")
    assert (env["BIND_HOST"], env["GATEWAY_PORT"]) == ("127.0.0.1", "5001")
    assert all(env[name].startswith("/s/tmp") for name in ("TMPDIR", "STATE_DIR", "S3_DATA_DIR"))
    assert (env[CONTROL], env[RUNTIME]) == ("http://c", "http://r")


@pytest.mark.parametrize(("rate", "scale"), [(1.0, "1.000000"), (60.0, "0.016667"), (0.5, "1.000000")])
def test_waits_of_workflows_run_with_the_clock_and_never_slower_than_real_time(rate, scale):
    env = emulator_environment(settings(clock_rate=rate), {}, 1, "http://c", "http://r")
    assert env["SFN_WAIT_SCALE"] == scale
