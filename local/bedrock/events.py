"""Status-change events, best effort as AWS says: some are lost, some come twice, some late.

(docs.aws.amazon.com/bedrock/latest/userguide/monitoring-eventbridge-how-it-works.html)
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from .batch import Job
from .config import Events

DETAIL_TYPE: Final = "Batch Inference Job State Change"


def copies(config: Events, rng: Random) -> int:
    """How often this event is sent: 0, 1 or 2."""
    if rng.random() < config.lost:
        return 0
    return 2 if rng.random() < config.doubled else 1


def odd_time(virtual: float) -> str:
    """The sample's unparsable form: `Aug 28, 2024, 10:47:53 PM`."""
    return datetime.fromtimestamp(virtual, UTC).strftime("%b %d, %Y, %I:%M:%S %p")


def entry(job: Job, account: str, status: str, source: str) -> dict[str, Any]:
    """The PutEvents entry of a status change."""
    detail = {
        "version": "0.0",
        "accountId": account,
        "batchJobName": job.name,
        "batchJobArn": job.arn,
        "batchModelId": f"arn:aws:bedrock:{job.region}::foundation-model/{job.model.base}",
        "status": status,
        "failureMessage": job.message or "",
        "creationTime": odd_time(job.submitted_at),
    }
    return {"Source": source, "DetailType": DETAIL_TYPE, "Resources": [job.arn], "Detail": json.dumps(detail)}
