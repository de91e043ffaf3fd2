"""Serves a stack that somebody else deploys into an empty cloud, for example `sam deploy`: beats its tick, knows it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.client import Clients
from local.deploy import function_name, stop_schedules
from local.ticker import Ticker

HOME_OUTPUT = "JobQueueUrl"  # by this output our home stack is known, whatever it is called
_SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
_PAUSE_S = 0.5
_log = logging.getLogger("local.newcomer")
Report = Callable[[str | None, Mapping[str, str]], None]


class Newcomer(threading.Thread):
    """Looks for a home stack until `ended` is set, and tells `report` its name and outputs; (None, {}) when it is gone.

    After each change the stack's schedule is turned off and its tick beaten at the speed of the clock, as in a cloud
    that came with a stack.
    """

    def __init__(
        self, clients: Clients, region: str, clock_rate: float, ended: threading.Event, report: Report
    ) -> None:
        super().__init__(name="newcomer", daemon=True)
        self._clients, self._region, self._rate, self._ended, self._report = clients, region, clock_rate, ended, report
        self._seen: tuple[Any, ...] | None = None
        self._ticking: tuple[str, threading.Event] | None = None

    def run(self) -> None:
        """Looks twice a second; what goes wrong is logged and tried again."""
        while not self._ended.wait(_PAUSE_S):
            try:
                self.look()
            except (BotoCoreError, ClientError) as error:
                if not self._ended.is_set():  # else the cloud is being stopped under us
                    _log.warning("the deployed stack could not be looked at: %s", error)
        self._beat(None)

    def look(self) -> None:
        """One look: does what a change since the last one asks for."""
        home = self._home()
        seen = None if home is None else (home["StackId"], home["StackStatus"], home.get("LastUpdatedTime"))
        if seen == self._seen:
            return
        if home is None:
            self._beat(None)
            self._report(None, {})
        else:
            stop_schedules(self._clients, self._region)
            self._beat(function_name(self._clients, self._region, home["StackName"], "TickFunction"))
            self._report(home["StackName"], {o["OutputKey"]: o["OutputValue"] for o in home["Outputs"]})
        self._seen = seen

    def _home(self) -> dict[str, Any] | None:
        cloudformation = self._clients.get("cloudformation", self._region)
        for page in cloudformation.get_paginator("describe_stacks").paginate():
            for stack in page["Stacks"]:
                outputs = {output["OutputKey"] for output in stack.get("Outputs", [])}
                if stack["StackStatus"] in _SETTLED and HOME_OUTPUT in outputs:
                    found: dict[str, Any] = stack
                    return found
        return None

    def _beat(self, function: str | None) -> None:
        """Ticks this function and no other."""
        if self._ticking is not None:
            if self._ticking[0] == function:
                return
            self._ticking[1].set()
            self._ticking = None
        if function is not None:
            stop = threading.Event()
            Ticker(self._clients, self._region, function, self._rate, stop).start()
            self._ticking = (function, stop)
