"""Lets cfn-lint look at the run workflow: it passes by `DefinitionUri`, so the file is put into the template.

    python tools/lint_workflow.py [--cfn-lint PATH]

It knows the shapes of states; where their transitions lead is a question of tests/infrastructure/test_workflow.py.
Ends with cfn-lint's status; what it says is printed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def inlined(asl: Path) -> dict[str, object]:
    """A template whose only resource is the state machine with its definition inside."""
    definition = yaml.safe_load(asl.read_text())
    names = sorted(set(_substitutions(asl.read_text())))
    function = "arn:aws:lambda:us-east-1:123456789012:function:f"
    machine = {
        "RoleArn": "arn:aws:iam::123456789012:role/r",
        "Definition": definition,
        "DefinitionSubstitutions": dict.fromkeys(names, function),
    }
    resources = {"RunWorkflow": {"Type": "AWS::StepFunctions::StateMachine", "Properties": machine}}
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}


def _substitutions(text: str) -> list[str]:
    return [piece.split("}", 1)[0] for piece in text.split("${")[1:]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cfn-lint", default=str(Path(sys.executable).with_name("cfn-lint")))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder, "run.asl.inlined.json")
        template.write_text(json.dumps(inlined(ROOT / "statemachines" / "run.asl.yaml"), indent=1))
        return subprocess.run([arguments.cfn_lint, str(template)], check=False).returncode  # noqa: S603


if __name__ == "__main__":
    raise SystemExit(main())
