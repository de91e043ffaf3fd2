"""The values one embedded cloud is started with, and the environment of its processes."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.processes import REPOSITORY

REGION = "us-east-1"
STACK = "slackwater"
# Further batch regions of a local cloud: what the shipped profiles need, so that each has two regions for batch jobs.
SATELLITES = ("us-west-2", "eu-west-2", "eu-north-1")
CONTROL_PLANE = "AWS_ENDPOINT_URL_BEDROCK"
RUNTIME = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"
# Set where IAM is enforced: the file of decisions, the port of the gate before Bedrock, and what lies behind it.
IAM_LOG, GATE_PORT, GATE_UPSTREAM = "SLACKWATER_IAM_LOG", "SLACKWATER_GATE_PORT", "SLACKWATER_GATE_UPSTREAM"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
# What a caller may hand to the model calls of his own endpoint: everything else that begins with AWS_ stays outside,
# so that no profile, no credential and no endpoint of a real account reaches the embedded cloud.
_KEPT_AWS_VARIABLES = ("AWS_BEARER_TOKEN_BEDROCK", "AWS_CA_BUNDLE")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How one embedded cloud is run; `clock_rate` is virtual seconds per real one, the origin epoch seconds."""

    state_dir: Path
    template: Path
    host: str
    port: int | None
    clock_rate: float
    clock_origin: int
    own_bedrock: bool  # our emulator runs, even where a caller's endpoint takes the model calls
    bedrock_url: str | None  # the caller's control plane, None: the emulator
    runtime_url: str | None  # the caller's runtime, None: the emulator
    batch_enabled: bool
    docker: bool
    detached: bool
    satellites: tuple[str, ...] = ()
    iam: bool = False  # functions may do what their roles' policies allow, and no more
    empty: bool = False  # no stack of ours: somebody else deploys one
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def dumps(self) -> str:
        """As JSON, for the supervisor's command line."""
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def loads(cls, text: str) -> Settings:
        """The inverse of `dumps`."""
        raw: dict[str, Any] = json.loads(text)
        raw |= {name: Path(raw[name]) for name in ("state_dir", "template")}
        raw["satellites"] = tuple(raw["satellites"])
        return cls(**raw)

    @property
    def tmp(self) -> Path:
        """Scratch of the children (the workers' unpacked code, object bodies); removed when the cloud stops."""
        return self.state_dir / "tmp"

    @property
    def logs(self) -> Path:
        """Where each process writes its log."""
        return self.state_dir / "logs"

    @property
    def iam_log(self) -> Path:
        """Where IAM's decisions are written, where it is enforced."""
        return self.logs / "iam.jsonl"

    def template_parameters(self) -> dict[str, str]:
        """Values for those of these parameters that the template declares."""
        return {
            "ClockRate": f"{self.clock_rate:g}",
            "ClockOrigin": str(self.clock_origin),
            "BatchEnabled": "true" if self.batch_enabled else "false",
            # A worker that is killed before it takes hold of its message gives it back as soon as any other.
            "ReceiveVisibilitySeconds": "90",
            "SatelliteRegions": ",".join(self.satellites),
            **self.parameters,
        }


def choose_bedrock(
    environ: Mapping[str, str], endpoint: str | None, clock_rate: float
) -> tuple[str | None, str | None, float, bool]:
    """(control plane, runtime, clock rate, batch allowed) after the caller's own endpoints, which win over ours.

    A caller's endpoint serves real time, so the clock runs at 1. With a runtime alone nobody would run his batch jobs,
    so batch is not eligible. `endpoint` is one URL for both, served by an emulator that follows our clock.
    """
    control, runtime = environ.get(CONTROL_PLANE) or None, environ.get(RUNTIME) or None
    if control or runtime:
        return control, runtime, 1.0, not (runtime and not control)
    return endpoint, endpoint, clock_rate, True


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without his AWS settings, his Python path and his proxies' hold on loopback."""
    env = {k: v for k, v in environ.items() if not k.startswith("AWS_") or k in _KEPT_AWS_VARIABLES}
    # Workers would import from the first, and compile every library anew in each process for the second.
    for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "SERVICES", "LOCALSTACK_PERSISTENCE"):
        env.pop(name, None)
    bypass = ",".join(filter(None, (environ.get("NO_PROXY") or environ.get("no_proxy"), "127.0.0.1,localhost")))
    return (
        env
        | CREDENTIALS
        | {
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": bypass,
            "no_proxy": bypass,
        }
    )


def emulator_environment(
    settings: Settings, environ: Mapping[str, str], port: int, bedrock_url: str, runtime_url: str
) -> dict[str, str]:
    """What ministack is started with; its Lambda workers inherit all of it. Reasons are in local/README.md."""
    return child_environment(environ) | {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": settings.host,  # its own default is every interface
        "MINISTACK_HOST": settings.host,  # the host name in queue URLs
        "MINISTACK_REGION": REGION,
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(settings.tmp),
        "STATE_DIR": str(settings.tmp / "state"),
        # Persistence would keep versioned buckets in memory all the same, and read whole files for ranges.
        "S3_PERSIST": "0",
        "PERSIST_STATE": "0",
        "S3_DATA_DIR": str(settings.tmp / "s3"),
        "AUTH": "false",
        "USE_SSL": "0",
        "LAMBDA_EXECUTOR": "local",
        "SFN_WAIT_SCALE": f"{min(1.0, 1.0 / settings.clock_rate):.6f}",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",  # listeners on fixed ports that nobody asked for
        "DOCKER_HOST": f"unix://{settings.tmp}/no-docker.sock",  # it would look for containers of its own to remove
        "AWS_ENDPOINT_URL_BEDROCK": bedrock_url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": runtime_url,
        "POWERTOOLS_TRACE_DISABLED": "true",  # there is no X-Ray daemon here
        # Time is this cloud's, so the functions learn it from here whatever their stack says (`local/aws.py`).
        "SLACKWATER_CLOCK_RATE": f"{settings.clock_rate:g}",
        "SLACKWATER_CLOCK_ORIGIN": str(settings.clock_origin),
    }


def iam_environment(settings: Settings, gate_port: int, bedrock_url: str) -> dict[str, str]:
    """What makes the emulated AWS enforce IAM, and its workers go to Bedrock by the gate; nothing where it is off."""
    if not settings.iam:
        return {}
    gate = f"http://{settings.host}:{gate_port}"
    return {
        "AUTH": "true",
        IAM_LOG: str(settings.iam_log),
        GATE_PORT: str(gate_port),
        GATE_UPSTREAM: bedrock_url,
        CONTROL_PLANE: gate,
        RUNTIME: gate,
    }


def repository_template() -> Path:
    """The template that also goes to AWS."""
    return REPOSITORY / "template.yaml"
