"""Beats the tick at the speed of the virtual clock: the emulator's own schedules run on real time, once a minute."""

from __future__ import annotations

import datetime
import json
import logging
import threading
import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.client import Clients

SCHEDULE_S = 60.0  # the template's rate(1 minute), in virtual seconds
MIN_PAUSE_S = 0.25
_INVOKE_TIMEOUT_S = 900.0
_log = logging.getLogger("local.ticker")


def pause_s(clock_rate: float) -> float:
    """Real seconds between two beats; never less than a quarter, or ticks would crowd out the work."""
    return max(MIN_PAUSE_S, SCHEDULE_S / clock_rate)


def scheduled_event(rule_arn: str, now: datetime.datetime) -> dict[str, Any]:
    """What EventBridge sends for a schedule.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
    """
    return {
        "version": "0",
        "id": f"tick-{now.timestamp():.3f}",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": rule_arn.split(":")[3],
        "resources": [rule_arn],
        "detail": {},
    }


class Ticker(threading.Thread):
    """Invokes one function again and again, never twice at once, until `stop` is set. A failed beat is logged."""

    def __init__(self, clients: Clients, region: str, function: str, clock_rate: float, stop: threading.Event) -> None:
        super().__init__(name="ticker", daemon=True)
        self._lambda = clients.get("lambda", region, _INVOKE_TIMEOUT_S)
        self._function, self._pause_s, self._ended = function, pause_s(clock_rate), stop
        self._rule_arn = f"arn:aws:events:{region}:000000000000:rule/local-tick"

    def run(self) -> None:
        """Beats; the pause is counted from the start of a beat, or zero when the beat took longer."""
        while not self._ended.is_set():
            started = time.monotonic()
            self._beat()
            self._ended.wait(max(0.0, started + self._pause_s - time.monotonic()))

    def _beat(self) -> None:
        event = scheduled_event(self._rule_arn, datetime.datetime.now(datetime.UTC))
        try:
            answer = self._lambda.invoke(FunctionName=self._function, Payload=json.dumps(event).encode())
        except (BotoCoreError, ClientError) as error:
            if not self._ended.is_set():  # else the cloud is being stopped under us
                _log.warning("tick could not be invoked: %s", error)
            return
        if answer.get("FunctionError"):
            _log.warning("tick failed: %s", answer["Payload"].read().decode(errors="replace")[:500])
