"""What `sam package` does, for the embedded cloud: code into zip files, the workflow into the template."""

from __future__ import annotations

import hashlib
import io
import py_compile
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Upload = Callable[[bytes], str]  # takes a zip file, answers its s3:// URI
Template = dict[str, Any]


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML ships no types
    """YAML with CloudFormation's short tags: `!Ref X` is {Ref: X}, `!GetAtt A.B` is {Fn::GetAtt: [A, B]}."""


def _short_tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_tag)


def load_template(path: Path) -> Template:
    """The template as plain data, intrinsic functions in their long form."""
    loaded = yaml.load(path.read_text(), _Loader)  # noqa: S506  (a SafeLoader)
    assert isinstance(loaded, dict)
    return loaded


def package(template: Template, base: Path, upload: Upload) -> Template:
    """A deep copy of `template` in which nothing points to `base` any more: uploaded code, an inlined workflow."""
    packed: Template = {**template, "Resources": {}}
    uploaded: dict[Path, str] = {}

    def code(where: str) -> str:
        folder = (base / where).resolve()
        if folder not in uploaded:
            uploaded[folder] = upload(zip_folder(folder))
        return uploaded[folder]

    function_defaults = template.get("Globals", {}).get("Function", {})
    if _is_local(function_defaults.get("CodeUri")):
        changed = {**function_defaults, "CodeUri": code(function_defaults["CodeUri"])}
        packed["Globals"] = {**template["Globals"], "Function": changed}
    for name, resource in template["Resources"].items():
        packed["Resources"][name] = _package_resource(resource, base, code, upload)
    return packed


def _package_resource(resource: Mapping[str, Any], base: Path, code: Callable[[str], str], upload: Upload) -> Template:
    properties = dict(resource.get("Properties", {}))
    kind = resource["Type"]
    if kind == "AWS::Serverless::Function" and _is_local(properties.get("CodeUri")):
        properties["CodeUri"] = code(properties["CodeUri"])
    elif kind == "AWS::Serverless::LayerVersion" and _is_local(properties.get("ContentUri")):
        properties["ContentUri"] = upload(zip_layer((base / properties["ContentUri"]).resolve()))
    elif kind == "AWS::Serverless::StateMachine" and _is_local(properties.get("DefinitionUri")):
        properties["Definition"] = yaml.safe_load((base / properties.pop("DefinitionUri")).read_text())
    return {**resource, **({"Properties": properties} if properties else {})}


def _is_local(where: object) -> bool:
    return isinstance(where, str) and not where.startswith("s3://")


def zip_folder(folder: Path) -> bytes:
    """All files of `folder` but caches, as a zip file with fixed times: the same code is the same archive."""
    return _zip((file.relative_to(folder).as_posix(), file.read_bytes()) for file in _files(folder))


def zip_layer(folder: Path) -> bytes:
    """The library of a layer's folder under `python/`, with byte code for this interpreter.

    The wheels of the layer's requirements stay out: Lambda workers here use the site-packages of this interpreter. The
    byte code is of the kind that is never checked against its source (PEP 552), because unpacking changes the times.
    """
    library = folder / folder.name
    files = [(f"python/{file.relative_to(folder).as_posix()}", file) for file in _files(library)]

    def entries() -> Iterator[tuple[str, bytes]]:
        tag = sys.implementation.cache_tag
        with tempfile.TemporaryDirectory() as scratch:
            compiled = Path(scratch) / "module.pyc"
            for name, file in files:
                yield name, file.read_bytes()
                if file.suffix == ".py":
                    py_compile.compile(
                        str(file),
                        str(compiled),
                        dfile=f"/opt/{name}",
                        doraise=True,
                        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                    )
                    head, _, tail = name.rpartition("/")
                    yield f"{head}/__pycache__/{tail.removesuffix('.py')}.{tag}.pyc", compiled.read_bytes()

    return _zip(entries())


def _files(folder: Path) -> list[Path]:
    return [f for f in sorted(folder.rglob("*")) if f.is_file() and "__pycache__" not in f.parts]


def _zip(entries: Iterator[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, body in entries:
            archive.writestr(zipfile.ZipInfo(name), body, compress_type=zipfile.ZIP_DEFLATED)
    return out.getvalue()


def artifact_key(body: bytes) -> str:
    """The key an archive is uploaded under: named by its content."""
    return f"{hashlib.sha256(body).hexdigest()[:20]}.zip"
