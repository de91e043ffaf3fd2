"""The embedded cloud starts, behaves as our handlers are told AWS behaves, and leaves nothing behind."""

from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local import cloud as clouds
from local import processes
from local.cloud import CloudError

RIG = Path(__file__).parent / "rig" / "template.yaml"
BARE = RIG.with_name("bare.yaml")


def notes(cloud, kind):
    found = cloud.client("dynamodb").query(
        TableName=cloud.outputs["TableName"],
        KeyConditionExpression="pk = :k",
        ExpressionAttributeValues={":k": {"S": kind}},
    )
    return [json.loads(item["json"]["S"]) for item in found["Items"]]


def order(cloud, **wishes):
    """Sends the probe function a message and answers its name."""
    name = uuid.uuid4().hex[:8]
    body = json.dumps({"name": name, **wishes})
    cloud.client("sqs").send_message(QueueUrl=cloud.outputs["JobQueueUrl"], MessageBody=body)
    return name


def take(cloud, queue):
    """Receives and deletes what lies in a queue."""
    sqs = cloud.client("sqs")
    got = sqs.receive_message(QueueUrl=cloud.outputs[queue], MaxNumberOfMessages=10).get("Messages", [])
    for message in got:
        sqs.delete_message(QueueUrl=cloud.outputs[queue], ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"]) for message in got]


def probe(cloud):
    answer = cloud.client("lambda").invoke(FunctionName=cloud.outputs["ProbeFunction"], Payload=b"{}")
    return json.loads(answer["Payload"].read())


def living(pids):
    return [pid for pid in pids if processes.command_of(pid) is not None]


def test_workers_run_the_library_of_the_deployed_layer(rig_cloud):
    assert "/layer_0/python/slackwater/" in probe(rig_cloud)["library"]


def test_workers_see_the_clock_and_the_bedrock_endpoints(rig_cloud):
    seen = probe(rig_cloud)["environment"]
    assert (seen["SLACKWATER_CLOCK_RATE"], seen["SLACKWATER_CLOCK_ORIGIN"]) == ("120", str(rig_cloud.clock_origin))
    assert seen["AWS_ENDPOINT_URL_BEDROCK"] == seen["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] == rig_cloud.control_url


def test_everything_listens_on_loopback_only(rig_cloud):
    if not Path("/proc/net/tcp").exists():
        pytest.skip("needs /proc")
    sockets = {str(fd.readlink()) for pid in rig_cloud.pids.values() for fd in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    addresses = {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}
    assert addresses == {"0100007F"}


def test_a_mapping_keeps_to_its_maximum_concurrency(rig_cloud, eventually):
    names = [order(rig_cloud, sleep_s=0.5) for _ in range(5)]
    ended = eventually(lambda: all(notes(rig_cloud, f"ended#{n}") for n in names))
    assert ended
    steps = sorted(
        [(notes(rig_cloud, f"received#{n}")[0]["at"], 1) for n in names]
        + [(notes(rig_cloud, f"ended#{n}")[0]["at"], -1) for n in names]
    )
    running = [sum(step for _, step in steps[: i + 1]) for i in range(len(steps))]
    assert 1 <= max(running) <= 2  # five were waiting


def test_a_reported_failure_is_received_again_until_the_dead_letter_queue(rig_cloud, eventually):
    name = order(rig_cloud, fail=True, visibility_s=1)
    dead = eventually(lambda: take(rig_cloud, "DeadLettersUrl"))
    assert [message["name"] for message in dead] == [name]
    assert [note["count"] for note in notes(rig_cloud, f"received#{name}")] == [1, 2, 3]


def test_a_killed_workers_message_comes_back_when_the_visibility_it_set_ends(rig_cloud, eventually):
    name = order(rig_cloud, sleep_s=30, visibility_s=3)
    first = eventually(lambda: notes(rig_cloud, f"received#{name}"))[0]
    assert first["pid"] in rig_cloud.worker_pids("Probe")
    time.sleep(0.3)
    os.kill(first["pid"], signal.SIGKILL)
    again = eventually(lambda: notes(rig_cloud, f"received#{name}")[1:])[0]
    assert again["count"] == 2
    assert again["pid"] != first["pid"]
    assert 3.0 <= again["at"] - first["at"] < 20.0  # far from the queue's own 360 s
    os.kill(again["pid"], signal.SIGKILL)


def test_a_drop_tells_its_version_and_its_plain_key(rig_cloud, eventually):
    key = "inbox/default/ä b+c.jsonl"
    put = rig_cloud.client("s3").put_object(Bucket=rig_cloud.outputs["BucketName"], Key=key, Body=b"{}")
    event = eventually(lambda: take(rig_cloud, "IntakeQueueUrl"))[0]
    assert event["detail"]["object"]["key"] == key
    assert event["detail"]["object"]["version-id"] == put["VersionId"]


def test_an_object_is_created_only_once_under_if_none_match(rig_cloud):
    s3, bucket = rig_cloud.client("s3"), rig_cloud.outputs["BucketName"]
    s3.put_object(Bucket=bucket, Key="once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket=bucket, Key="once", Body=b"2", IfNoneMatch="*")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412


def test_the_bedrock_emulators_events_are_taken_and_other_aws_sources_are_not(rig_cloud, eventually):
    events = rig_cloud.client("events")
    entry = {"DetailType": "Batch Inference Job State Change", "Detail": json.dumps({"batchJobName": "sw-1"})}
    assert events.put_events(Entries=[{"Source": "aws.bedrock", **entry}])["FailedEntryCount"] == 0
    assert events.put_events(Entries=[{"Source": "aws.ec2", **entry}])["FailedEntryCount"] == 1
    got = eventually(lambda: take(rig_cloud, "IntakeQueueUrl"))
    assert [event["detail"]["batchJobName"] for event in got] == ["sw-1"]


def test_a_workflow_waits_for_its_token_and_goes_on(rig_cloud, eventually):
    flows = rig_cloud.client("stepfunctions")
    arn = flows.start_execution(stateMachineArn=rig_cloud.outputs["WorkflowArn"])["executionArn"]
    token = eventually(lambda: notes(rig_cloud, "token"))[-1]["token"]
    flows.send_task_success(taskToken=token, output=json.dumps({"status": "settled"}))
    done = eventually(lambda: (d := flows.describe_execution(executionArn=arn))["status"] != "RUNNING" and d)
    assert (done["status"], json.loads(done["output"])) == ("SUCCEEDED", [2, 4, 6])


def test_the_tick_beats_at_the_clocks_speed(rig_cloud, eventually):
    beats = eventually(lambda: len(found := notes(rig_cloud, "tick")) >= 5 and found)
    gaps = [b["at"] - a["at"] for a, b in itertools.pairwise(beats[1:])]
    assert 0.4 < statistics.median(gaps) < 3.0  # 60 virtual seconds at 120 are half a second, on an idle machine
    assert beats[-1]["event"]["detail-type"] == "Scheduled Event"


def test_the_wall_clocks_schedule_is_off(rig_cloud):
    rules = rig_cloud.client("events").list_rules()["Rules"]
    assert [r["State"] for r in rules if r.get("ScheduleExpression")] == ["DISABLED"]


def test_a_running_cloud_is_found_and_a_second_one_in_its_folder_is_refused(rig_cloud):
    assert clouds.find(rig_cloud.state_dir) == rig_cloud
    with pytest.raises(CloudError, match="already runs"):
        clouds.start(state_dir=rig_cloud.state_dir, clock_rate=1, template=RIG)
    assert clouds.find(rig_cloud.state_dir) == rig_cloud


def test_stopping_ends_every_process_and_leaves_only_logs(start_cloud, tmp_path):
    cloud = start_cloud(template=RIG)
    probe(cloud)
    assert any("asked" in line for line in cloud.function_logs())
    pids = [*cloud.pids.values(), *cloud.worker_pids()]
    assert len(pids) >= 4
    cloud.stop()
    cloud.stop()
    assert living(pids) == []
    assert clouds.find(cloud.state_dir) is None
    assert sorted(entry.name for entry in cloud.state_dir.iterdir()) == ["lock", "logs"]
    assert "asked" in (cloud.logs() / "functions.log").read_text()


def test_a_detached_cloud_outlives_its_starter_and_is_stopped_from_its_folder(tmp_path, start_cloud):
    cloud = start_cloud(template=BARE, detached=True)
    found = clouds.find(cloud.state_dir)
    assert found == cloud
    found.stop()
    assert living(cloud.pids.values()) == []


STARTER = """
import json, pathlib, sys, time
from local import cloud
running = cloud.start(state_dir=pathlib.Path(sys.argv[1]), clock_rate=60, template=pathlib.Path(sys.argv[2]))
print(json.dumps(list(running.pids.values())), flush=True)
time.sleep(600)
"""


def heeding_interrupts() -> None:
    """Whoever runs the tests in the background may have them ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_a_killed_starter(tmp_path, eventually, number):
    environ = {k: v for k, v in os.environ.items() if not k.startswith("AWS_ENDPOINT_URL")}
    command = [sys.executable, "-c", STARTER, str(tmp_path), str(BARE)]
    with subprocess.Popen(
        command,
        cwd=processes.REPOSITORY,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=heeding_interrupts,  # noqa: PLW1509 - it takes no lock
    ) as starter:
        pids = json.loads(starter.stdout.readline())
        assert living(pids) == pids
        starter.send_signal(number)
    eventually(lambda: living(pids) == [], within_s=20)
    eventually(lambda: not (tmp_path / "tmp").exists(), within_s=20)


def test_nothing_outlives_a_killed_supervisor(start_cloud, eventually):
    cloud = start_cloud(template=RIG)
    name = order(cloud, sleep_s=50)
    busy = eventually(lambda: notes(cloud, f"received#{name}"))[0]["pid"]
    os.kill(cloud.pids["supervisor"], signal.SIGKILL)
    others = [busy, *(pid for name, pid in cloud.pids.items() if name != "supervisor")]
    eventually(lambda: living(others) == [], within_s=20)
    assert clouds.find(cloud.state_dir) is None


def test_a_template_that_fails_says_why_and_leaves_nothing(tmp_path, start_cloud):
    broken = tmp_path / "template.yaml"
    broken.write_text("Resources: {Odd: {Type: 'AWS::No::Such', Properties: {}}}")
    with pytest.raises(CloudError, match="AWS::No::Such"):
        start_cloud(template=broken, state_dir=tmp_path / "state")
    assert clouds.find(tmp_path / "state") is None


def test_a_callers_runtime_takes_the_model_calls_in_real_time(start_cloud):
    elsewhere = {**os.environ, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:9"}
    cloud = start_cloud(template=RIG, environ=elsewhere)
    seen = probe(cloud)["environment"]
    assert (
        seen["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"]
        == cloud.env()["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"]
        == "http://127.0.0.1:9"
    )
    assert seen["AWS_ENDPOINT_URL_BEDROCK"] == cloud.control_url
    assert (cloud.clock_rate, cloud.batch_enabled) == (1, False)


def test_the_products_template_gives_everything_a_caller_needs(cloud):
    variables = cloud.env()
    assert variables["SLACKWATER_JOB_QUEUE"] == cloud.outputs["JobQueueUrl"]
    for name in ("SLACKWATER_BUCKET", "SLACKWATER_REPLY_QUEUE", "SLACKWATER_REPLY_QUEUE_ARN", "SLACKWATER_CONTROL_URL"):
        assert variables[name]
    sqs, queue = cloud.client("sqs"), variables["SLACKWATER_REPLY_QUEUE"]
    assert sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"] == {
        "QueueArn": variables["SLACKWATER_REPLY_QUEUE_ARN"]
    }


def test_each_satellite_has_its_bucket_in_its_own_region_and_the_functions_know_it(cloud):
    assert len(cloud.satellites) >= 1
    assert cloud.outputs["SatelliteRegions"].split(",") == list(cloud.satellites)
    for region, outputs in cloud.satellites.items():
        where = cloud.client("s3", region).get_bucket_location(Bucket=outputs["BucketName"])["LocationConstraint"]
        assert where == region
        assert outputs["BucketName"].endswith(f"-{region}")
