"""From a message's body to a definite job: which run, which id, which deadline; or to what is refused, and why."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import orjson

from slackwater.model import ids
from slackwater.model.claim import Asked, Inbound
from slackwater.model.clock import later
from slackwater.model.deadline import resolve
from slackwater.model.dialects.outputs import FROM_THE_LINE
from slackwater.model.errors import BadInput
from slackwater.model.message import BadMessage, CloseRun, Envelope, JobMessage, Known, job_message, parse_body
from slackwater.model.native import NativeBody, Request, check, limit_pointer, output_limit, request_sha
from slackwater.model.profile import DEFAULT_PROFILE, Profile, Profiles
from slackwater.usecases.ports import Documents

REFUSED_LIVES_S: Final = 3600.0  # the "deadline" of what is refused: only its row is to be written
HOUR: Final = "%Y-%m-%dT%H"


class Reader:
    """Reads messages under the profiles of the run that they are for. Raises NotAnObject for what only the queue's
    redrive can take."""

    def __init__(
        self, *, profiles: Callable[[str, str], Profiles], documents: Documents, reply_queue_arns: tuple[str, ...]
    ) -> None:
        """`profiles(profile, name)`: by which a message for the run of that name is judged."""
        self._profiles = profiles
        self._documents = documents
        self._reply_queue_arns = frozenset(reply_queue_arns)

    def __call__(self, inbound: Inbound) -> Asked | CloseRun:
        try:
            found = parse_body(inbound.body)
            match found:
                case CloseRun():
                    return found
                case Envelope():
                    return self._enveloped(inbound, found)
                case JobMessage():
                    return self._job(inbound, found, orjson.loads(inbound.body))
        except BadMessage as exc:
            return self._refused(inbound, exc, exc.known)

    def conflict(self, asked: Asked) -> Asked:
        """The same id with other content: refused under the message's own name."""
        problem = BadInput("this id was used in this run for another request: give each request its own id", "/job_id")
        return replace(
            _no_job(
                asked.message,
                asked.profile,
                asked.name,
                asked.id,
                problem,
                reply_to=asked.reply_to,
                result_dialect=asked.result_dialect,
            ),
            refusal_code="id_conflict",
        )

    def _job(self, inbound: Inbound, message: JobMessage, body: dict[str, Any]) -> Asked:
        known = Known(message.job_id, message.profile, message.run_id, message.reply_to, message.result_dialect)
        name = message.run_id or inbound.sent_at.strftime(HOUR)
        profile_name = message.profile or DEFAULT_PROFILE
        try:
            profile = self._profiles(profile_name, name).named(profile_name)
            self._check_reply(message.reply_to)
            _check_dialect(message)
            _check_request(profile, message.typed_request())
            if message.deadline is None:
                deadline = later(inbound.sent_at, profile.default_deadline_s)
            else:
                try:
                    deadline = resolve(message.deadline, inbound.sent_at)
                except BadInput as exc:
                    raise BadInput(exc.message, "/deadline") from None
        except BadInput as exc:
            return self._refused(inbound, exc, known)
        request = message.typed_request()
        sha = request_sha(request)
        job = ids.job_of_message(profile_name, name, message.job_id, sha)
        return Asked(
            message=inbound,
            profile=profile_name,
            name=name,
            id=message.job_id or job,
            job=job,
            sha=sha,
            deadline=deadline,
            first_sent_at=inbound.sent_at,
            request=request,
            body=body,
            lane=message.lane,
            tags=message.tags,
            reply_to=message.reply_to,
            result_dialect=reply_dialect(message.result_dialect),
        )

    def _enveloped(self, inbound: Inbound, envelope: Envelope) -> Asked:
        """A job of ours that comes again: what it was when it first came holds."""
        body = envelope.body
        if body is None:
            body = orjson.loads(self._documents.get(str(envelope.body_key)))
        message = job_message(body)
        request = message.typed_request()
        sha = request_sha(request)
        return Asked(
            message=inbound,
            profile=message.profile or DEFAULT_PROFILE,
            name=message.run_id or envelope.first_sent_at.strftime(HOUR),
            id=message.job_id or envelope.job,
            job=envelope.job,
            sha=sha,
            deadline=envelope.deadline_at,
            first_sent_at=envelope.first_sent_at,
            request=request,
            body=body,
            lane=envelope.lane or message.lane,
            tags=message.tags,
            reply_to=message.reply_to,
            result_dialect=reply_dialect(message.result_dialect),
            hop=envelope.hop,
            body_key=envelope.body_key,
            rescued=envelope.rescued,
        )

    def _check_reply(self, reply_to: str | None) -> None:
        if reply_to is not None and reply_to not in self._reply_queue_arns:
            raise BadInput(
                "this queue is not among those that may get replies: add its ARN to the parameter ReplyQueueArns",
                "/reply_to",
            )

    def _refused(self, inbound: Inbound, problem: BadInput, known: Known) -> Asked:
        name, profile = known.run_id or inbound.sent_at.strftime(HOUR), known.profile or DEFAULT_PROFILE
        if profile not in self._profiles(profile, name).profiles:
            profile = DEFAULT_PROFILE
        reply_to = known.reply_to if known.reply_to in self._reply_queue_arns else None
        dialect = reply_dialect(known.result_dialect)
        return _no_job(inbound, profile, name, known.job_id, problem, reply_to=reply_to, result_dialect=dialect)


def _check_request(profile: Profile, request: Request) -> None:
    """What only the profile can tell: whether its model takes a native body, and its bounds on answers."""
    pointer = "/inferenceConfig/maxTokens"
    if isinstance(request, NativeBody):
        check(request, profile.model, "/request")
        pointer = limit_pointer(profile.model)
    try:
        profile.check_output_limit(output_limit(request))
    except BadInput as exc:
        raise BadInput(exc.message, f"/request{pointer}") from None


def reply_dialect(asked: str | None) -> str | None:
    """The dialect that a reply is translated to; None for our own, which is the input's on a queue."""
    return asked if asked in FROM_THE_LINE else None


def _check_dialect(message: JobMessage) -> None:
    """Raises BadInput for a dialect that could have no effect."""
    if message.result_dialect in (None, "slackwater", "input"):
        return
    if message.result_dialect not in FROM_THE_LINE:
        raise BadInput(
            "a reply cannot be in this dialect, which repeats the request: ask for one of "
            f"{', '.join(FROM_THE_LINE)}, or drop a file",
            "/result_dialect",
        )
    if message.reply_to is None:
        raise BadInput(
            "this is the dialect of the reply, and no reply is asked for: name a queue in reply_to", "/result_dialect"
        )


def _no_job(
    inbound: Inbound,
    profile: str,
    name: str,
    caller_id: str | None,
    problem: BadInput,
    *,
    reply_to: str | None,
    result_dialect: str | None,
) -> Asked:
    return Asked(
        message=inbound,
        profile=profile,
        name=name,
        id=caller_id or inbound.message_id,
        job=ids.h(f"{profile}|{name}|refused|{inbound.message_id}"),
        sha="",
        deadline=later(inbound.sent_at, REFUSED_LIVES_S),
        first_sent_at=inbound.sent_at,
        request={},
        body={},
        reply_to=reply_to,
        result_dialect=result_dialect,
        refusal=problem,
    )
