from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main
import yaml

from deploy.check import FOLDER
from pipelines.cli import app

SERVE = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]


def _pod(file: str) -> dict[str, Any]:
    workload = next(yaml.safe_load_all((FOLDER / file).read_text()))
    spec = workload["spec"]
    return dict((spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec)["template"]["spec"])


PODS = {file: _pod(file) for file in ("serve-deployment.yaml", "serve-cronjob.yaml")}


def _unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (FOLDER / "tdmq-backup.service").read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("file", PODS)
def test_the_command_of_the_pod_is_one_that_serve_takes(file: str):
    (container,) = PODS[file]["containers"]
    assert container["command"][-2:] == ["tdmq-backup", "serve"]
    context = SERVE.make_context("serve", list(container["args"]))
    assert context.params["once"] is (file == "serve-cronjob.yaml")


def test_the_command_of_the_unit_is_one_that_serve_takes():
    (command,) = _unit()["ExecStart"]
    program, name, *words = command.split()
    assert (program.rpartition("/")[2], name) == ("tdmq-backup", "serve")
    assert SERVE.make_context("serve", words).params["listen"].startswith("127.0.0.1:")


def test_both_pods_are_alike_but_for_how_they_are_asked():
    def common(file: str) -> dict[str, Any]:
        (container,) = PODS[file]["containers"]
        apart = ("args", "ports", "livenessProbe", "readinessProbe")
        pod = {key: value for key, value in PODS[file].items() if key not in ("containers", "restartPolicy")}
        return {**pod, **{key: value for key, value in container.items() if key not in apart}}

    assert common("serve-deployment.yaml") == common("serve-cronjob.yaml")


def test_probes_ask_where_the_service_answers():
    (container,) = PODS["serve-deployment.yaml"]["containers"]
    (port,) = container["ports"]
    assert f"--listen=0.0.0.0:{port['containerPort']}" in container["args"]
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": port["name"]}


@pytest.mark.parametrize("file", PODS)
def test_pods_are_confined_and_hold_no_secret(file: str):
    pod = PODS[file]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    store = {each["name"]: each for each in container["env"]}["TDMQ_BACKUP_STORE"]
    assert "value" not in store
    assert {mount["name"] for mount in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    keys = {each["key"] for volume in pod["volumes"] for each in volume.get("secret", {}).get("items", [])}
    keys.add(store["valueFrom"]["secretKeyRef"]["key"])
    guide = (FOLDER / "README.md").read_text()
    assert all(f"--from-file={key}=" in guide for key in keys)


def test_a_stop_has_the_time_that_the_service_takes():
    from pipelines.rules.serve import CLAIM_SECONDS, STOP_SECONDS

    least = CLAIM_SECONDS + STOP_SECONDS
    assert all(pod["terminationGracePeriodSeconds"] > least for pod in PODS.values())
    assert int(_unit()["TimeoutStopSec"][0]) > least


def test_the_unit_has_each_setting_once_in_its_section_and_keeps_the_store_in_its_own_folder():
    text = (FOLDER / "tdmq-backup.service").read_text()
    assert re.findall(r"^\[(\w+)\]$", text, re.MULTILINE) == ["Unit", "Service", "Install"]
    unit = _unit()
    assert all(len(values) == 1 for values in unit.values())
    assert unit["Environment"] == ["XDG_DATA_HOME=/var/lib"]
    assert unit["StateDirectory"] == ["tdmq-backup"]
    assert unit["SuccessExitStatus"] == ["130 143"]
    assert "SECRET" not in "".join("".join(values) for values in unit.values())
