"""One release of each package, wherever it runs: in the functions, and in the command that the tests run."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pins(lines: list[str]) -> dict[str, str]:
    """Package (with its extras) → its exact release."""
    exact = (line.partition("#")[0].strip().partition("==") for line in lines)
    return {name: release for name, _, release in exact if release}


def test_the_layer_has_the_releases_that_the_tests_run_with():
    layer = pins((ROOT / "layers/slackwater/requirements.txt").read_text().splitlines())
    command = pins(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    assert {name: command.get(name) for name in layer if name != "botocore"} == {
        name: release for name, release in layer.items() if name != "botocore"
    }
    assert layer["botocore"] == layer["boto3"]  # one release of both, as the embedded cloud pins botocore


def test_whatever_the_layer_holds_is_pinned_exactly():
    lines = (ROOT / "layers/slackwater/requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line.strip() and not line.startswith("#")]
    assert len(pins(wanted)) == len(wanted)
