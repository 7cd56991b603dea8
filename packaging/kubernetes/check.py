#!/usr/bin/env python3
"""Builds the manifests with kubectl's kustomize and compares them with the published schemas; lints the Containerfiles.

    python3 packaging/kubernetes/check.py                     after pip install -r packaging/kubernetes/requirements.txt

Kubernetes' own kinds go to kubernetes-validate in its strict form, which refuses unknown fields; ServiceMonitor to the model that
cloudcoil makes of the operator's definition. What is between the objects (names, labels, ports) is compared here.
"""

import pathlib
import shutil
import subprocess
import sys
import tomllib

import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor

HERE = pathlib.Path(__file__).resolve().parent
BIN = pathlib.Path(sys.executable).parent
VERSIONS = ["1.30", "1.34"]
WANTED = {"Deployment", "ConfigMap", "Secret", "Service", "ServiceMonitor"}


def tool(name):
    found = BIN / name if (BIN / name).exists() else shutil.which(name)
    return str(found) if found else sys.exit(f"{name} is missing: pip install -r packaging/kubernetes/requirements.txt")


def build(folder):
    told = subprocess.run([tool("kubectl"), "kustomize", str(HERE / folder)], capture_output=True, text=True)
    if told.returncode:
        sys.exit(told.stderr)
    return [part for part in yaml.safe_load_all(told.stdout) if part]


def refused(thing, version):
    """What the schema says against an object; none if it is right."""
    try:
        if thing["kind"] == "ServiceMonitor":
            unknown = set(thing["spec"]) - set(ServiceMonitor.model_validate(thing).spec.model_dump(by_alias=True))
            return f"unknown fields: {unknown}" if unknown else None
        kubernetes_validate.validate(thing, version, strict=True)
    except Exception as error:
        return str(error)


def check(folder):
    things = build(folder)
    by_kind = {thing["kind"]: thing for thing in things}
    assert WANTED <= set(by_kind), WANTED - set(by_kind)
    for thing in things:
        for version in VERSIONS:
            error = refused(thing, version)
            assert error is None, f"{folder}: {thing['kind']} with Kubernetes {version}: {error}"
        # The check itself: a field that does not exist is refused.
        if "spec" in thing:
            assert refused(thing | {"spec": thing["spec"] | {"noSuchField": 1}}, VERSIONS[0]), f"{thing['kind']}: everything is taken"
    pod = by_kind["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    service = by_kind["Service"]["spec"]
    labels = pod["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert {port["targetPort"] for port in service["ports"]} <= ports
    monitor = by_kind["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= by_kind["Service"]["metadata"]["labels"].items()
    assert {end["port"] for end in monitor["endpoints"]} <= {port["name"] for port in service["ports"]}
    secret = by_kind["Secret"]
    for end in monitor["endpoints"]:
        wanted = end["authorization"]["credentials"]
        assert wanted["name"] == secret["metadata"]["name"] and wanted["key"] in secret["stringData"]
    # The settings name files of the secret, and ports of the container.
    settings = tomllib.loads(by_kind["ConfigMap"]["data"]["service.toml"])
    tables = [settings["http"], settings["rtsp"], *settings["camera"].values()]
    files = {value for table in tables for key, value in table.items() if key.endswith("-file")}
    (folder_of_secrets,) = {m["mountPath"] for m in container["volumeMounts"] if m["name"] == "secrets"}
    assert files == {f"{folder_of_secrets}/{key}" for key in secret["stringData"]}, files
    listening = {int(settings[table]["listen"].rpartition(":")[2]) for table in ("http", "rtsp")}
    assert listening == {port["containerPort"] for port in container["ports"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert volumes["config"]["configMap"]["name"] == by_kind["ConfigMap"]["metadata"]["name"]
    assert volumes["secrets"]["secret"]["secretName"] == by_kind["Secret"]["metadata"]["name"]
    security = container["securityContext"] | pod["spec"]["securityContext"]
    assert security["readOnlyRootFilesystem"] and security["runAsNonRoot"] and security["capabilities"] == {"drop": ["ALL"]}
    gpus = container["resources"]["limits"].get("nvidia.com/gpu", 0)
    assert (gpus == 1) == (folder == "gpu")
    if folder == "gpu":
        claim = by_kind["PersistentVolumeClaim"]["metadata"]["name"]
        assert volumes["cache"]["persistentVolumeClaim"]["claimName"] == claim
    print(f"ok  {folder}: {', '.join(sorted(by_kind))}")


def lint():
    files = sorted((HERE / "../container").glob("Containerfile*"))
    assert files
    for path in files:
        told = subprocess.run([tool("hadolint"), str(path)], capture_output=True, text=True)
        assert told.returncode == 0, told.stdout + told.stderr
        print(f"ok  {path.name}")


for folder in ("cpu", "gpu"):
    check(folder)
lint()
