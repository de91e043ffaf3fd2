"""Names that are expensive to change: every id is derived, so that doing a thing again gives it the same name."""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS: Final = tuple(first + second for first in _BASE32 for second in _BASE32)
_SHIFTS: Final = range(90, -1, -10)  # a pair of characters holds ten bits; base64.b32encode takes four times as long
JOB_NAME: Final = re.compile(r"^sw-(?P<stack>[a-z2-7]{6})-(?P<shard>s[a-z2-7]{20})-a(?P<attempt>\d+)$")


def h(text: str) -> str:
    """The first 20 characters of the lower-case, unpadded base32 SHA-256 of `text`: 100 bits, safe in any AWS name."""
    bits = int.from_bytes(hashlib.sha256(text.encode()).digest()[:13], "big") >> 4  # 104 − 4 = 100
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])


def run_of_object(bucket: str, key: str, version_id: str) -> str:
    """The run of one version of one dropped file."""
    return "r" + h(f"{bucket}|{key}|{version_id}")


def run_of_name(profile: str, name: str, generation: int) -> str:
    """The run of queued jobs that share a profile and a caller's `run_id` (or an hour)."""
    return "r" + h(f"{profile}|{name}|{generation}")


def job_of_line(run_id: str, caller_id: str | None, line: int) -> str:
    """The job of a line; without a caller's id the line itself names it: equal prompts are no duplicates."""
    return h(f"{run_id}|{line if caller_id is None else caller_id}")


def job_of_message(profile: str, name: str, caller_id: str | None, request_sha: str) -> str:
    """The job of a message. It does not hold the run's generation: what was done once is not done again."""
    return h(f"{profile}|{name}|{f'sha256({request_sha})' if caller_id is None else caller_id}")


def block_name(index: int) -> str:
    """`00000`, `00001` …: five digits, so that S3 and DynamoDB sort blocks as numbers."""
    return f"{index:05d}"


def pack_id(owner: str, job_ids: Iterable[str], generation: int) -> str:
    """The pack of these jobs of a run (or pool); `generation` tells a rescue from the first try."""
    return "p" + _of_jobs(owner, job_ids, generation)


def shard_id(owner: str, job_ids: Iterable[str], generation: int) -> str:
    """The shard of these jobs of a run (or pool)."""
    return "s" + _of_jobs(owner, job_ids, generation)


def _of_jobs(owner: str, job_ids: Iterable[str], generation: int) -> str:
    return h(f"{owner}|{','.join(sorted(job_ids))}|{generation}")


def record_id(ordinal: int) -> str:
    """`R` and ten digits: the place in the shard. Callers' ids never leave our own files."""
    return f"R{ordinal:010d}"


def ordinal_of_record(record: object) -> int | None:
    """The ordinal that a `recordId` names, or None where it is none of ours."""
    if isinstance(record, str) and len(record) == 11 and record[0] == "R" and record[1:].isdecimal():
        return int(record[1:])
    return None


def job_name_prefix(stack_arn: str) -> str:
    """What the names of this stack's batch jobs begin with; jobs with another prefix are other people's."""
    return f"sw-{h(stack_arn)[:6]}-"


def batch_job_name(stack_arn: str, shard: str, attempt: int) -> str:
    """`jobName` and `clientRequestToken` in one; inside the pattern of *CreateModelInvocationJob* (≤ 63 characters)."""
    return f"{job_name_prefix(stack_arn)}{shard}-a{attempt}"
