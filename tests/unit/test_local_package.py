"""What goes into the embedded cloud is what lies in the repository."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile

import pytest

from local.package import artifact_key, load_template, package, zip_folder, zip_layer

TEMPLATE = """
Parameters: {Size: {Type: Number}}
Globals: {Function: {Runtime: python3.13}}
Resources:
  Layer: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: layers/lib}}
  One: {Type: AWS::Serverless::Function, Properties: {CodeUri: one, Role: !GetAtt Role.Arn, Environment: !Sub "${Layer}-x"}}
  Two: {Type: AWS::Serverless::Function, Properties: {CodeUri: one, Memory: !Ref Size}}
  Far: {Type: AWS::Serverless::Function, Properties: {CodeUri: s3://elsewhere/far.zip}}
  Flow: {Type: AWS::Serverless::StateMachine, Properties: {DefinitionUri: flow.asl.yaml, DefinitionSubstitutions: {F: !GetAtt One.Arn}}}
  Role: {Type: AWS::IAM::Role}
"""  # noqa: E501


@pytest.fixture
def project(tmp_path):
    (tmp_path / "layers" / "lib" / "lib").mkdir(parents=True)
    (tmp_path / "layers" / "lib" / "Makefile").write_text("build-Layer:\n")
    (tmp_path / "layers" / "lib" / "lib" / "__init__.py").write_text("VALUE = 7\n")
    (tmp_path / "layers" / "lib" / "lib" / "table.json").write_text("{}")
    (tmp_path / "one" / "__pycache__").mkdir(parents=True)
    (tmp_path / "one" / "app.py").write_text("x = 1\n")
    (tmp_path / "one" / "__pycache__" / "app.pyc").write_text("stale")
    (tmp_path / "flow.asl.yaml").write_text("StartAt: A\nStates: {A: {Type: Task, Resource: '${F}', End: true}}\n")
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    return tmp_path


@pytest.fixture
def packed(project):
    uploads = []

    def upload(body):
        uploads.append(body)
        return f"s3://artifacts/{artifact_key(body)}"

    return package(load_template(project / "template.yaml"), project, upload), uploads


def names(body):
    return zipfile.ZipFile(io.BytesIO(body)).namelist()


def test_short_tags_become_intrinsic_functions(project):
    one = load_template(project / "template.yaml")["Resources"]["One"]["Properties"]
    assert one["Role"] == {"Fn::GetAtt": ["Role", "Arn"]}
    assert one["Environment"] == {"Fn::Sub": "${Layer}-x"}


def test_every_local_path_is_replaced_and_nothing_else_changes(packed, project):
    template, uploads = packed
    resources, original = template["Resources"], load_template(project / "template.yaml")["Resources"]
    assert resources["One"]["Properties"]["CodeUri"] == resources["Two"]["Properties"]["CodeUri"]
    assert resources["One"]["Properties"]["CodeUri"].startswith("s3://artifacts/")
    assert resources["Layer"]["Properties"]["ContentUri"].startswith("s3://artifacts/")
    assert (resources["Far"], resources["Role"]) == (original["Far"], original["Role"])
    assert len(uploads) == 2  # one layer, and the code that two functions share


def test_the_workflow_is_inlined_with_its_substitutions_left_to_cloudformation(packed):
    flow = packed[0]["Resources"]["Flow"]["Properties"]
    assert flow["Definition"]["States"]["A"]["Resource"] == "${F}"
    assert flow["DefinitionSubstitutions"] == {"F": {"Fn::GetAtt": ["One", "Arn"]}}
    assert "DefinitionUri" not in flow


def test_the_template_that_was_loaded_is_left_as_it_was(project):
    template = load_template(project / "template.yaml")
    before = json.dumps(template)
    package(template, project, lambda body: "s3://a/b")
    assert json.dumps(template) == before


def test_caches_stay_out_of_functions(project):
    assert names(zip_folder(project / "one")) == ["app.py"]


def test_the_same_code_is_the_same_archive_whatever_its_times(project):
    first = zip_folder(project / "one"), zip_layer(project / "layers" / "lib")
    os.utime(project / "one" / "app.py", (1, 1))
    os.utime(project / "layers" / "lib" / "lib" / "__init__.py", (1, 1))
    assert (zip_folder(project / "one"), zip_layer(project / "layers" / "lib")) == first


def test_a_layers_byte_code_is_used_after_unpacking(project, tmp_path):
    body = zip_layer(project / "layers" / "lib")
    assert "python/lib/table.json" in names(body)
    assert not any("Makefile" in name for name in names(body))
    zipfile.ZipFile(io.BytesIO(body)).extractall(tmp_path / "opt")
    (tmp_path / "opt" / "python" / "lib" / "__init__.py").write_text("VALUE = 8\n")  # not even looked at
    ask = [sys.executable, "-c", "import lib; print(lib.VALUE)"]
    seen = subprocess.run(
        ask,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "opt" / "python")},
    )
    assert seen.stdout == "7\n"


def test_a_library_that_does_not_compile_is_refused(project):
    (project / "layers" / "lib" / "lib" / "broken.py").write_text("def :\n")
    with pytest.raises(Exception, match=r"broken\.py"):
        zip_layer(project / "layers" / "lib")
