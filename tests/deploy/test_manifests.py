from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import Any

import apache_beam
import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions

from deploy.check import FOLDER
from pipelines.parser import job_parser
from transforms.testing import flink
from transforms.testing.fetch import FLINK_VERSION, flink_jars

ROOT = FOLDER.parent
SECRETS = "/var/run/secrets/tdmq-backup/"
#: Keys of Flink's part for Kubernetes, which is not among the jars of the tests.
OF_KUBERNETES = {"kubernetes.cluster-id", "kubernetes.namespace"}


def _documents(file: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((FOLDER / file).read_text())
    return {f"{each['kind']} {each['metadata']['name']}": each for each in documents}


OPERATOR = _documents("flink-deployment.yaml")
SESSION = _documents("flink-session-cluster.yaml")
JOB = _documents("backup-job.yaml")
ALL = {"operator": OPERATOR, "session": SESSION, "job": JOB}
FLINK = OPERATOR["FlinkDeployment tdmq-backup-flink"]["spec"]


def _found(value: Any, key: str) -> Iterator[Any]:
    """Everything that stands under a key, at any depth."""
    if isinstance(value, dict):
        for name, below in value.items():
            if name == key:
                yield below
            yield from _found(below, key)
    elif isinstance(value, list):
        for each in value:
            yield from _found(each, key)


def _containers(documents: Any) -> list[dict[str, Any]]:
    return [container for containers in _found(documents, "containers") for container in containers]


def _container(documents: Any, name: str) -> dict[str, Any]:
    found = [each for each in _containers(documents) if each["name"] == name]
    assert len(found) == 1
    return found[0]


def _session_settings() -> dict[str, str]:
    lines = SESSION["ConfigMap tdmq-backup-flink"]["data"]["settings"].splitlines()
    return dict(line.split(": ", 1) for line in lines)


def _options() -> dict[str, str]:
    """What the launcher is given, less what may stand there twice."""
    return dict((word.partition("=")[::2]) for word in _container(JOB, "launcher")["args"])


def test_both_clusters_have_the_same_workers():
    assert _container(OPERATOR, "sdk-workers") == _container(SESSION, "sdk-workers")


def test_both_clusters_have_the_same_settings():
    settings = {key: value for key, value in FLINK["flinkConfiguration"].items() if key != "env.java.opts.all"}
    session = _session_settings()
    assert {key: session.get(key) for key in settings} == settings


def test_both_clusters_have_the_same_size():
    resources = {
        "job-manager": FLINK["jobManager"]["resource"]["memory"],
        "task-manager": FLINK["taskManager"]["resource"]["memory"],
    }
    session = _session_settings()
    assert session["jobmanager.memory.process.size"] == resources["job-manager"]
    assert session["taskmanager.memory.process.size"] == resources["task-manager"]
    for component, memory in resources.items():
        pod = SESSION[f"Deployment tdmq-backup-flink-{component}"]
        limits = _container(pod, "flink-main-container")["resources"]["limits"]
        assert limits == {"memory": memory.replace("m", "Mi")}
    assert SESSION["Deployment tdmq-backup-flink-task-manager"]["spec"]["replicas"] == FLINK["taskManager"]["replicas"]


def test_every_setting_is_one_that_flink_knows():
    texts = b""
    for name in ("flink-core", "flink-runtime", "flink-streaming-java"):
        with zipfile.ZipFile(flink_jars() / f"{name}-{FLINK_VERSION}.jar") as jar:
            texts += b"".join(jar.read(each) for each in jar.namelist() if each.endswith("Options.class"))
    keys = {*FLINK["flinkConfiguration"], *_session_settings(), "jobmanager.rpc.address", "taskmanager.host"}
    # As a class file holds a text: a tag, its length, its bytes.
    constants = {key: b"\x01" + len(key).to_bytes(2, "big") + key.encode() for key in keys - OF_KUBERNETES}
    assert not {key for key, constant in constants.items() if constant not in texts}


def test_settings_that_the_operator_forbids_are_left_to_it():
    assert not OF_KUBERNETES & FLINK["flinkConfiguration"].keys()


def test_settings_of_the_session_cluster_are_lines_that_flinks_image_takes():
    # It takes every line for a key and a value, comments too, and drops blanks. A key above another would hide it.
    settings = _session_settings()
    assert not [line for line in settings.items() if re.search(r"[\s#\"']", "".join(line))]
    assert not [key for key in settings for other in settings if other.startswith(key + ".")]


def test_lists_of_the_operators_pod_templates_are_never_merged():
    assert not [
        each for each in _found(FLINK["podTemplate"], "spec") if any(isinstance(v, list) for v in each.values())
    ]


def test_there_is_a_slot_for_each_parallel_subtask_and_a_worker_for_each_slot():
    slots = int(FLINK["flinkConfiguration"]["taskmanager.numberOfTaskSlots"])
    assert FLINK["taskManager"]["replicas"] * slots == int(_options()["--parallelism"])
    assert int(_options()["--sdk_worker_parallelism"]) == slots


def test_the_job_finds_workers_job_server_and_flink():
    options = _options()
    workers = _container(OPERATOR, "sdk-workers")
    (port,) = (each["containerPort"] for each in workers["ports"])
    assert options["--environment_config"] == f"localhost:{port}"
    assert f"--service_port={port}" in workers["args"]
    server = _container(JOB, "job-server")
    ports = {each["name"]: each["containerPort"] for each in server["ports"]}
    for name, port in ports.items():
        assert f"--{name}-port={port}" in server["args"]
        assert options[f"--{name}_endpoint"] == f"tdmq-backup-job-server:{port}"
    service = JOB["Service tdmq-backup-job-server"]["spec"]
    assert {each["targetPort"]: each["port"] for each in service["ports"]} == ports
    rest = SESSION["Service tdmq-backup-flink-rest"]
    assert f"--flink-master={rest['metadata']['name']}:{rest['spec']['ports'][0]['port']}" in server["args"]
    assert f"--flink-master={options['--flink_master'].removeprefix('http://')}" in server["args"]
    # The operator names the service after the cluster.
    assert "FlinkDeployment " + rest["metadata"]["name"].removesuffix("-rest") in OPERATOR


@pytest.mark.parametrize("documents", ALL.values(), ids=ALL)
def test_services_and_deployments_select_pods_that_there_are(documents: dict[str, Any]):
    pods = [each["metadata"]["labels"] for each in _found(documents, "template")]
    for name, document in documents.items():
        selector = document["spec"].get("selector", {}) if "spec" in document else {}
        labels = selector.get("matchLabels", selector)
        assert not labels or any(labels.items() <= pod.items() for pod in pods), name


@pytest.mark.parametrize("documents", ALL.values(), ids=ALL)
def test_volumes_and_claims_are_there(documents: dict[str, Any]):
    for pod in _found(documents, "spec"):
        if "containers" in pod:
            mounted = {mount["name"] for mounts in _found(pod["containers"], "volumeMounts") for mount in mounts}
            assert mounted == {each["name"] for each in pod["volumes"]}
    claims = {name.split()[1] for name in documents if name.startswith("PersistentVolumeClaim ")}
    assert set(_found(documents, "claimName")) == claims


def test_state_is_kept_on_the_shared_volume():
    for container in (each for each in _containers([OPERATOR, SESSION]) if each["name"] == "flink-main-container"):
        (mount,) = container["volumeMounts"]
        folders = [value for value in FLINK["flinkConfiguration"].values() if value.startswith("file:")]
        assert len(folders) == 3
        assert all(each.startswith(f"file://{mount['mountPath']}/") for each in folders)


def test_secrets_are_references_only_and_are_where_workers_and_launcher_look_for_them():
    options = _options()
    references = [options["--token"], options["--cos_credentials"]]
    assert all(each.startswith(f"file:{SECRETS}") for each in references)
    for container in (_container(JOB, "launcher"), _container(OPERATOR, "sdk-workers")):
        mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
        assert mounts[SECRETS.rstrip("/")]["readOnly"] is True
    assert set(_found(list(ALL.values()), "secretName")) == {"tdmq-backup"}
    assert not [each for documents in ALL.values() for each in documents if each.startswith("Secret ")]
    # The guide makes the secret with the keys that the references name.
    guide = (FOLDER / "README.md").read_text()
    assert all(f"--from-file={each.removeprefix('file:' + SECRETS)}=" in guide for each in references)


def test_the_job_or_its_runner_knows_all_that_the_launcher_says():
    words = _container(JOB, "launcher")["args"]
    _, rest = job_parser().parse_known_args(words)
    known = PipelineOptions(rest).get_all_options(drop_default=True)
    with zipfile.ZipFile(next(flink_jars().glob("beam-runners-flink-*.jar"))) as jar:
        runner = jar.read("org/apache/beam/runners/flink/FlinkPipelineOptions.class")
    for name in {word.partition("=")[0].removeprefix("--") for word in rest} - known.keys():
        getter = "".join(part.capitalize() for part in name.split("_")).encode()
        assert b"get" + getter in runner or b"is" + getter in runner, name


@pytest.mark.parametrize("documents", ALL.values(), ids=ALL)
def test_every_container_is_confined(documents: dict[str, Any]):
    for container in _containers(documents):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        if "tdmq-backup" in container.get("image", ""):
            assert security["readOnlyRootFilesystem"] is True
    pods = [each for each in _found(documents, "securityContext") if "runAsNonRoot" in each]
    assert pods
    assert all(each["runAsNonRoot"] and each["seccompProfile"] == {"type": "RuntimeDefault"} for each in pods)


def test_every_container_says_how_much_it_needs():
    for container in _containers([SESSION, JOB, _container(OPERATOR, "sdk-workers")]):
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), container["name"]
        assert "memory" in container["resources"]["limits"], container["name"]


def test_images_are_of_the_versions_that_are_tested():
    images = set(_found(list(ALL.values()), "image"))
    minor = FLINK_VERSION.rpartition(".")[0]
    beam = apache_beam.__version__
    assert f"apache/beam_flink{minor}_job_server:{beam}" in images
    assert {each for each in images if each.startswith("flink:")} == {each for each in images if f":{minor}." in each}
    assert FLINK["flinkVersion"] == "v" + minor.replace(".", "_")
    assert f"apache/beam_python3.11_sdk:{beam}" in (FOLDER / "Dockerfile").read_text()
    assert f"apache-beam=={beam}\n" in (ROOT / "requirements.txt").read_text()


def test_java_opens_what_the_tests_open():
    opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in flink._OPENED]
    assert FLINK["flinkConfiguration"]["env.java.opts.all"].split() == opened
    (variable,) = _container(JOB, "job-server")["env"]
    assert variable["value"].split()[1:] == opened


def test_the_image_pins_each_package_once():
    def names(file: str) -> set[str]:
        lines = (ROOT / file).read_text().splitlines()
        return {re.split("==", line)[0].lower().replace("_", "-") for line in lines if line and line[0] != "#"}

    assert not names("requirements.txt") & names("deploy/constraints.txt")
    assert all("==" in line for line in (FOLDER / "constraints.txt").read_text().splitlines()[1:])


def test_the_builder_gets_what_the_dockerfile_copies_and_no_more():
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert {word for words in copied for word in words.split()} == {each[1:] for each in sent if each.startswith("!")}
    assert "*" in sent
