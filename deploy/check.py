"""Checks the manifests and the Dockerfile of this folder without a cluster: ``python -m deploy.check [FILE...]``.

Manifests are held against the schemas of Kubernetes, and of Flink's Kubernetes Operator where a resource is the
operator's. A field that no schema knows is a mistake here, as with ``kubectl apply --validate=strict``. Dockerfiles go
through hadolint. What a schema cannot say, such as whether a name refers to anything, is not checked.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from transforms.testing.fetch import FetchError, flink_operator_jar

FOLDER = Path(__file__).parent
KUBERNETES_VERSION = "1.32"
"""The oldest that kubernetes-validate has the schemas of."""

_OPERATOR = "flink.apache.org/"
_CRDS = "META-INF/fabric8/{}s.flink.apache.org-v1.yml"
_Yaml = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML, but a key that stands twice in a mapping is an error instead of hiding the first."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands here twice", key.start_mark)
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def problems(path: Path) -> Iterator[str]:
    """Say what is wrong with one file, a sentence each: a Dockerfile by its name, else a YAML file of manifests."""
    if path.name.startswith("Dockerfile"):
        yield from _problems_of_dockerfile(path)
        return
    try:
        documents = [each for each in yaml.load_all(path.read_text(), _StrictLoader) if each is not None]
    except yaml.YAMLError as error:
        yield f"{path}: not YAML: {error}"
        return
    if not documents:
        yield f"{path}: holds no resource"
    for document in documents:
        yield from (f"{path}: {said}" for said in _problems_of_resource(document))


def _problems_of_resource(resource: Any) -> Iterator[str]:
    if not isinstance(resource, dict) or not all(isinstance(resource.get(key), str) for key in ("apiVersion", "kind")):
        yield "a document without apiVersion and kind"
        return
    metadata = resource.get("metadata")
    name = f"{resource['kind']} {metadata.get('name') if isinstance(metadata, dict) else metadata}"
    if not resource["apiVersion"].startswith(_OPERATOR):
        yield from (f"{name}: {said}" for said in _against_kubernetes(resource))
        return
    # The operator's schema begins below what all resources have; any other kind tells whether that is right.
    common = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    yield from (f"{name}: {said}" for said in _against_kubernetes(common))
    yield from (f"{name}: {said}" for said in _against_operator(resource))


def _against_kubernetes(resource: dict[str, Any]) -> Iterator[str]:
    try:
        kubernetes_validate.validate(resource, KUBERNETES_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield _sentence(error)
    except kubernetes_validate.SchemaNotFoundError:
        yield f"Kubernetes {KUBERNETES_VERSION} has no {resource['kind']} in {resource['apiVersion']}"


def _against_operator(resource: dict[str, Any]) -> Iterator[str]:
    schemas = operator_schemas(resource["kind"].lower())
    version = resource["apiVersion"].removeprefix(_OPERATOR)
    if version not in schemas:
        yield f"the operator has no {resource['kind']} in {resource['apiVersion']}"
        return
    yield from map(_sentence, jsonschema.Draft202012Validator(schemas[version]).iter_errors(resource))


def _sentence(error: jsonschema.ValidationError) -> str:
    return f"{'.'.join(map(str, error.absolute_path)) or 'the resource'}: {error.message[:300]}"


@functools.cache
def operator_schemas(kind: str) -> dict[str, dict[str, Any]]:
    """Schemas of a kind by version, from the operator's own custom resource definition; empty if there is none.

    Closed: where the definition lists properties, there are no others. (Kubernetes drops them without a word.)
    """
    with zipfile.ZipFile(flink_operator_jar()) as jar:
        if _CRDS.format(kind) not in jar.namelist():
            return {}
        definition = yaml.load(jar.read(_CRDS.format(kind)), _Yaml)  # noqa: S506 - one of the two safe ones
    schemas = {}
    for version in definition["spec"]["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {}}
        schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
        schemas[version["name"]] = _closed(schema)
    return schemas


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    # Only where it speaks of an object: "properties" may itself be the name of a field.
    if schema.get("type") == "object" and "properties" in schema:
        closed.setdefault("additionalProperties", bool(schema.get("x-kubernetes-preserve-unknown-fields", False)))
    return closed


def _problems_of_dockerfile(path: Path) -> Iterator[str]:
    program = Path(sysconfig.get_path("scripts")) / "hadolint"
    answer = subprocess.run(  # noqa: S603 - the program is ours
        [program, "--no-color", path], capture_output=True, text=True, check=False
    )
    yield from answer.stdout.splitlines()
    if answer.returncode and not answer.stdout.strip():
        yield f"{path}: hadolint failed with exit code {answer.returncode}: {answer.stderr.strip()}"


def main(arguments: Sequence[str]) -> int:
    """Check the files, or all of this folder; print what is wrong; return an exit code."""
    paths = [Path(each) for each in arguments] or [FOLDER / "Dockerfile", *sorted(FOLDER.glob("*.yaml"))]
    try:
        found = [said for path in paths for said in problems(path)]
    except FetchError as error:
        found = [f"error: {error}"]
    for said in found:
        print(said, file=sys.stderr)
    if not found:
        print(f"{len(paths)} files of deploy/ are right.")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
