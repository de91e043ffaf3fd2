"""Docker, as far as `sam local invoke` needs it: is there an engine, has it the image, where do containers find us."""

from __future__ import annotations

import ipaddress
import json
import os
import platform
import socket
import subprocess
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from local.errors import CloudError

DESKTOP_HOST = "host.docker.internal"  # Docker Desktop's name for the machine, loopback included
_ASK_TIMEOUT_S, _PULL_TIMEOUT_S = 20.0, 600.0
_RESOLVE = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"


def machine() -> str:
    """This machine's processor as Lambda names it."""
    return "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"


def lambda_image(runtime: str, architecture: str) -> str:
    """The image in which `sam local invoke` runs a function: AWS's own, from its public registry."""
    return f"public.ecr.aws/lambda/python:{runtime.removeprefix('python')}-{architecture}"


def no_engine(environ: Mapping[str, str] | None = None) -> str | None:
    """Why no Docker engine can be used and what to do; None when one answers."""
    try:
        _ask(["version", "--format", "{{.Server.Version}}"], environ)
    except CloudError as error:
        return f"no Docker engine answers ({error}): install and start Docker, or set DOCKER_HOST"
    return None


def has_image(image: str) -> bool:
    """Whether the engine holds `image` already."""
    try:
        _ask(["image", "inspect", "--format", "{{.Id}}", image])
    except CloudError:
        return False
    return True


def engine_address(environ: Mapping[str, str] | None = None) -> str:
    """The engine's socket. sam knows DOCKER_HOST only, the `docker` command also its contexts (Docker Desktop's)."""
    given = (os.environ if environ is None else environ).get("DOCKER_HOST")
    return given or _ask(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], environ)


def host_of_containers(environ: Mapping[str, str] | None = None) -> str:
    """Where containers of the default network reach this machine: the address of Docker's bridge if that is one of
    ours (Linux), else Docker Desktop's name for us.

    Raises CloudError when there is no engine.
    """
    if (reason := no_engine(environ)) is not None:
        raise CloudError(reason)
    configured = json.loads(_ask(["network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}"], environ))
    for each in configured or ():
        # Engines name the gateway of their own default network only sometimes; it is the first address then.
        address = each.get("Gateway") or str(next(ipaddress.ip_network(each["Subnet"]).hosts()))
        if is_ours(address):
            return str(address)
    return DESKTOP_HOST


def is_ours(address: str) -> bool:
    """Whether a server of this machine can listen at `address`."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def is_loopback(url: str) -> bool:
    """Whether the server of `url` listens on this machine's loopback."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost")


def resolve(host: str, image: str) -> str:
    """`host` as an IPv4 address, asked in a container of `image` where it is a name: at an address every SDK puts the
    bucket into the path, at a name in front of it, where nobody would be found.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        command = ["run", "--rm", "--quiet", "--entrypoint", "python3", image, "-c", _RESOLVE, host]
        return _ask(command, timeout_s=_PULL_TIMEOUT_S)


def _ask(arguments: Sequence[str], environ: Mapping[str, str] | None = None, timeout_s: float = _ASK_TIMEOUT_S) -> str:
    """The answer of one `docker` command. Raises CloudError with the last thing that it said."""
    try:
        done = subprocess.run(  # noqa: S603  (arguments are ours)
            ["docker", *arguments],  # noqa: S607  (wherever it is installed)
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=None if environ is None else dict(environ),
        )
    except FileNotFoundError:
        raise CloudError("there is no `docker` command") from None
    except subprocess.TimeoutExpired:
        raise CloudError(f"`docker {arguments[0]}` did not answer within {timeout_s:.0f} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise CloudError(said[-1] if said else f"`docker {arguments[0]}` ended with status {done.returncode}")
    return done.stdout.strip()
