"""Does what its message says, and leaves a note of each receive and each end in the table."""

import json
import os
import time

import boto3


def note(kind, **values):
    item = {"pk": kind, "sk": f"{time.time():.6f}#{os.getpid()}", "json": json.dumps({"at": time.time(), **values})}
    boto3.client("dynamodb").put_item(TableName=os.environ["TABLE"], Item={k: {"S": v} for k, v in item.items()})


def handler(event, context):
    if "Records" not in event:
        import slackwater

        print("asked")  # noqa: T201  (into the function's log)
        return {"library": slackwater.__file__, "environment": dict(os.environ)}
    failed = []
    for record in event["Records"]:
        order = json.loads(record["body"])
        note(f"received#{order['name']}", count=int(record["attributes"]["ApproximateReceiveCount"]), pid=os.getpid())
        if "visibility_s" in order:
            boto3.client("sqs").change_message_visibility(
                QueueUrl=os.environ["QUEUE_URL"],
                ReceiptHandle=record["receiptHandle"],
                VisibilityTimeout=order["visibility_s"],
            )
        time.sleep(order.get("sleep_s", 0))
        if order.get("fail"):
            failed.append({"itemIdentifier": record["messageId"]})
        note(f"ended#{order['name']}", pid=os.getpid())
    return {"batchItemFailures": failed}


def wait(event, context):
    note("token", token=event["token"])


def tick(event, context):
    note("tick", event=event)
