from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.check import FOLDER, main, problems

MANIFESTS = sorted(FOLDER.glob("*.yaml"))


def test_what_is_in_the_folder_is_right(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("file", "right", "wrong", "said"),
    [
        ("backup-job.yaml", "backoffLimit:", "backofLimit:", "'backofLimit' was unexpected"),
        ("backup-job.yaml", "        - name: job-server\n", "        - nam: job-server\n", "'name' is a required"),
        ("backup-job.yaml", "replicas: 1", 'replicas: "one"', "'one' is not of type"),
        ("backup-job.yaml", "apiVersion: batch/v1\n", "apiVersion: batch/v3\n", "no Job in batch/v3"),
        ("backup-job.yaml", "  backoffLimit: 0\n", "  backoffLimit: 0\n  backoffLimit: 0\n", "stands here twice"),
        ("flink-session-cluster.yaml", "roleRef:", "rolRef:", "'roleRef' is a required"),
        ("flink-session-cluster.yaml", "livenessProbe:", "livelinessProbe:", "'livelinessProbe' was unexpected"),
        ("flink-deployment.yaml", "  flinkVersion:", "  flinkversion:", "'flinkversion' was unexpected"),
        ("flink-deployment.yaml", "flinkVersion: v1_19", "flinkVersion: v1_91", "'v1_91' is not one of"),
        ("flink-deployment.yaml", "mode: standalone", "mode: stand-alone", "'stand-alone' is not one of"),
        ("flink-deployment.yaml", "      memory: 1600m", "      memori: 1600m", "'memori' was unexpected"),
        ("flink-deployment.yaml", "runAsNonRoot:", "runAsNonroot:", "'runAsNonroot' was unexpected"),
        ("flink-deployment.yaml", "secretName:", "secretname:", "'secretname' was unexpected"),
        ("flink-deployment.yaml", 'Slots: "2"', "Slots: 2", "2 is not of type 'string'"),
        ("flink-deployment.yaml", "kind: FlinkDeployment\nmetadata:", "kind: FlinkDeployment\nmetdata:", ""),
        ("flink-deployment.yaml", "kind: FlinkDeployment\n", "kind: FlinkDeploiment\n", "no FlinkDeploiment"),
        ("flink-deployment.yaml", "flink.apache.org/v1beta1", "flink.apache.org/v1", "no FlinkDeployment in"),
    ],
)
def test_a_mistake_in_a_manifest_is_refused_and_named(file: str, right: str, wrong: str, said: str, tmp_path: Path):
    text = (FOLDER / file).read_text()
    assert right in text
    damaged = tmp_path / file
    damaged.write_text(text.replace(right, wrong, 1))
    found = list(problems(damaged))
    assert found, "the mistake was not seen"
    assert all(each.startswith(f"{damaged}: ") for each in found)
    assert said in "\n".join(found)


def test_a_name_within_the_metadata_of_the_operators_resources_is_checked_too(tmp_path: Path):
    text = (FOLDER / "flink-deployment.yaml").read_text()
    damaged = tmp_path / "flink.yaml"
    damaged.write_text(text.replace("name: tdmq-backup-flink\n  labels:", "name: tdmq-backup-flink\n  labls:"))
    assert "'labls' was unexpected" in "\n".join(problems(damaged))


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a list\n", "kind: Job\n", "a: [\n"])
def test_what_is_no_manifest_is_refused(text: str, tmp_path: Path):
    file = tmp_path / "some.yaml"
    file.write_text(text)
    assert list(problems(file))


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("FROM ${RUN_IMAGE}", "FROM python", "DL3006"),
        ("WORKDIR /home/backup", "WORKDIR home/backup", "DL3000"),
        ("USER 10001:10001", "USER root", "DL3002"),
        ("RUN pip install --no-build", "RUN cd x && pip install --no-build", "DL3003"),
        ("ENTRYPOINT [", "ENTRYPONT [", "unexpected"),
        ("COPY --from=build ", "COPY --from=bild ", "DL3022"),
    ],
)
def test_a_bad_dockerfile_is_refused(right: str, wrong: str, rule: str, tmp_path: Path):
    text = (FOLDER / "Dockerfile").read_text()
    assert right in text
    damaged = tmp_path / "Dockerfile"
    damaged.write_text(text.replace(right, wrong, 1))
    assert rule in "\n".join(problems(damaged))


def test_the_command_fails_with_a_mistake_and_prints_it(tmp_path: Path):
    damaged = tmp_path / "job.yaml"
    damaged.write_text((FOLDER / "backup-job.yaml").read_text().replace("backoffLimit:", "backofLimit:"))
    command = [sys.executable, "-m", "deploy.check", str(damaged)]
    answer = subprocess.run(command, cwd=FOLDER.parent, env=os.environ, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "Job tdmq-backup-orders: spec" in answer.stderr
