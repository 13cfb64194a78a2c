"""Tests of the Kubernetes manifests: valid, restricted, and with every part fitting the others.

The kustomizations are put together here, by the few means of kustomize that they use; any other is refused.
Where kubectl is installed, which it need not be on CI either, it has to come to the same.
"""

import copy
import subprocess
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from exporter.cli.arguments import DEFAULT_LISTEN_ADDRESS
from exporter.config import Config, parse
from tests.sandbox import settings
from tests.services import DEADLINE_SECONDS, ROOT, Lab, kms_exporter, which

UNIT = ROOT / "deploy/systemd/kms-exporter.service"
KUBERNETES = ROOT / "deploy" / "kubernetes"
BASE, FLEET, OPERATOR = (KUBERNETES / name for name in ("base", "fleet", "operator"))
PROMETHEUS_OPERATOR = "monitoring.coreos.com/v1"
LABELS = {"app.kubernetes.io/name": "kms-exporter"}
VERSIONS = ("1.30", "1.37")
"""The first with all the fields, and the newest whose schemas are at hand."""

Manifest = dict[str, Any]


def read(path: Path) -> list[Manifest]:
    """Read a file of manifests."""
    return [each for each in yaml.safe_load_all(path.read_text()) if each is not None]


def build(directory: Path) -> list[Manifest]:
    """Put a kustomization together, by those means of kustomize that are used here."""
    [kustomization] = read(directory / "kustomization.yaml")
    known = {"resources", "components", "configMapGenerator", "replicas", "patches", "images", "namespace"}
    assert kustomization.keys() <= known | {"apiVersion", "kind"}
    found = []
    for name in [*kustomization.get("resources", ()), *kustomization.get("components", ())]:
        path = directory / name
        found += build(path) if path.is_dir() else read(path)
    for generator in kustomization.get("configMapGenerator", ()):
        assert generator["options"]["disableNameSuffixHash"] is True
        found = _generate(found, generator, directory)
    for entry in kustomization.get("replicas", ()):
        of_kind(found, "Deployment", entry["name"])["spec"]["replicas"] = entry["count"]
    for entry in kustomization.get("patches", ()):
        [patch] = read(directory / entry["path"])
        _merge(of_kind(found, patch["kind"], patch["metadata"]["name"]), patch)
    for image in kustomization.get("images", ()):
        for container in of_kind(found, "Deployment")["spec"]["template"]["spec"]["containers"]:
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    return [_in_namespace(each, kustomization.get("namespace")) for each in found]


def _generate(found: list[Manifest], generator: Manifest, directory: Path) -> list[Manifest]:
    metadata = {"name": generator["name"]} | {
        key: value for key, value in generator["options"].items() if key == "labels"
    }
    if generator.get("behavior") == "replace":
        metadata = of_kind(found, "ConfigMap", generator["name"])["metadata"]
        found = [each for each in found if each["metadata"] is not metadata]
    data = {name: (directory / name).read_text() for name in generator["files"]}
    return [*found, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}]


def _merge(target: Manifest, patch: Manifest) -> None:
    """Put maps into each other; a list would need its keys, and may therefore only be new."""
    for key, value in patch.items():
        if isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            assert key not in target or target[key] == value, key
            target[key] = copy.deepcopy(value)


def _in_namespace(manifest: Manifest, namespace: str | None) -> Manifest:
    if namespace and manifest["kind"] not in {"Namespace", "PriorityClass"}:
        manifest["metadata"]["namespace"] = namespace
    return manifest


def of_kind(manifests: list[Manifest], kind: str, name: str = "kms-exporter") -> Manifest:
    """Find the one manifest of a kind."""
    [found] = [each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


@pytest.fixture(params=[BASE, FLEET], ids=lambda directory: directory.name)
def directory(request: pytest.FixtureRequest) -> Path:
    """Give the folders that can be applied, one after the other."""
    found: Path = request.param
    return found


@pytest.fixture
def manifests(directory: Path) -> list[Manifest]:
    """Put together what would be applied."""
    return build(directory)


@pytest.fixture
def pod(manifests: list[Manifest]) -> Manifest:
    """Give what each Pod is made from."""
    spec: Manifest = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: Manifest) -> Manifest:
    """Give the container of a Pod, which has no other."""
    assert pod.keys() & {"initContainers", "ephemeralContainers"} == set()
    [found] = pod["containers"]
    assert isinstance(found, dict)
    return found


# --- Kustomize


def normal(manifests: list[Manifest]) -> list[Manifest]:
    """Put manifests into one order."""
    return sorted(manifests, key=lambda each: (each["kind"], each["metadata"]["name"]))


def test_kubectl_makes_the_same(directory: Path, manifests: list[Manifest]) -> None:
    """What kubectl builds, where it is installed, is what all these tests look at."""
    kubectl = which("kubectl")
    if kubectl is None:
        pytest.skip("not installed, nor in Debian: kubectl")
    done = subprocess.run(
        [kubectl, "kustomize", str(directory)],
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    assert normal(list(yaml.safe_load_all(done.stdout))) == normal(manifests)


@pytest.mark.parametrize("directory", [BASE, FLEET, OPERATOR], ids=lambda directory: directory.name)
def test_every_file_is_used(directory: Path) -> None:
    """A kustomization names every file that lies beside it, and none that does not."""

    def named(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            for each in value.values():
                yield from named(each)
        elif isinstance(value, list):
            for each in value:
                yield from named(each)
        elif isinstance(value, str) and value.endswith((".yaml", ".yml")):
            yield value

    [kustomization] = read(directory / "kustomization.yaml")
    there = {path.name for path in directory.iterdir()}
    assert set(named(kustomization)) | {"kustomization.yaml"} == there


# --- Valid, and without rights


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid(manifests: list[Manifest], version: str) -> None:
    """Every manifest has the fields and types that Kubernetes has; those of the operator are not known."""
    skipped = set()
    for manifest in manifests:
        if manifest["apiVersion"] == PROMETHEUS_OPERATOR:
            skipped.add(manifest["kind"])
        else:
            kubernetes_validate.validate(manifest, version, strict=True)
    assert skipped <= {"PrometheusRule", "ServiceMonitor", "Probe"}


def test_validation_can_fail(manifests: list[Manifest]) -> None:
    """A field that is misspelt is found."""
    deployment = of_kind(manifests, "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


def test_pod_is_restricted(pod: Manifest, container: Manifest) -> None:
    """The Pod keeps all of the restricted profile (https://kubernetes.io/docs/concepts/security/pod-security-standards/)."""
    context, own = pod["securityContext"], container["securityContext"]
    assert pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "hostAliases"} == set()
    assert {key for volume in pod["volumes"] for key in volume} == {"name", "configMap"}
    assert all("hostPort" not in port for port in container["ports"])
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert context.keys() == {"runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile"}
    assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in (ROOT / "Dockerfile").read_text()


def test_namespace_is_restricted(manifests: list[Manifest]) -> None:
    """All is in a namespace where the cluster itself refuses what does not keep to the restricted profile."""
    labels = of_kind(manifests, "Namespace")["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {
        "restricted"
    }
    assert {each["metadata"].get("namespace") for each in manifests} == {None, "kms-exporter"}


def test_pod_cannot_talk_to_kubernetes(manifests: list[Manifest], pod: Manifest) -> None:
    """The Pod has an account of its own without a token."""
    account = of_kind(manifests, "ServiceAccount", pod["serviceAccountName"])
    assert account["automountServiceAccountToken"] is pod["automountServiceAccountToken"] is False
    assert {each["kind"] for each in manifests} & {
        "Role",
        "ClusterRole",
        "RoleBinding",
        "ClusterRoleBinding",
    } == set()


def test_network_policy(manifests: list[Manifest]) -> None:
    """One namespace may ask, and the exporter may reach DNS and KMS and nothing else."""
    spec = of_kind(manifests, "NetworkPolicy")["spec"]
    assert spec["podSelector"] == {"matchLabels": LABELS}
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    [ingress], [egress] = spec["ingress"], spec["egress"]
    [source] = ingress["from"]
    assert source.keys() == {"namespaceSelector"}
    assert ingress["ports"] == [{"port": "http", "protocol": "TCP"}]
    assert {(port["protocol"], port["port"]) for port in egress["ports"]} == {
        ("UDP", 53),
        ("TCP", 53),
        ("TCP", 1688),
    }


# --- How the parts fit


def test_labels_select(manifests: list[Manifest]) -> None:
    """All parts have one label, and whatever selects Pods selects by it."""
    assert all(LABELS.items() <= each["metadata"]["labels"].items() for each in manifests)
    spec = of_kind(manifests, "Deployment")["spec"]
    assert spec["template"]["metadata"]["labels"] == LABELS
    budget = of_kind(manifests, "PodDisruptionBudget")["spec"]["selector"]
    assert spec["selector"] == budget == {"matchLabels": LABELS}
    assert of_kind(manifests, "Service")["spec"]["selector"] == LABELS


def test_ports_fit(manifests: list[Manifest], container: Manifest) -> None:
    """The port that the exporter listens on is that of the Service, by one name."""
    port = int(DEFAULT_LISTEN_ADDRESS.removeprefix(":"))
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    assert of_kind(manifests, "Service")["spec"]["ports"] == [
        {"name": "http", "port": port, "targetPort": "http"}
    ]


def test_drain_is_possible(manifests: list[Manifest]) -> None:
    """No budget keeps a node from being drained, and a new Pod is there before the old one goes."""
    assert of_kind(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert of_kind(manifests, "Deployment")["spec"]["strategy"] == {
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}
    }


def test_priority(manifests: list[Manifest], pod: Manifest) -> None:
    """The priority is one that comes along, and drives nobody away."""
    assert of_kind(manifests, "PriorityClass", pod["priorityClassName"])["preemptionPolicy"] == "Never"


def test_end_has_time(pod: Manifest, container: Manifest) -> None:
    """A Pod that goes is left out by the Service first, and then has as long to stop as systemd gives it."""
    drained = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    stopping = int(settings(UNIT)["TimeoutStopSec"][-1].removesuffix("s"))
    assert 0 < drained <= pod["terminationGracePeriodSeconds"] - stopping


def test_resources(container: Manifest) -> None:
    """Memory is asked for and bounded; CPU is only asked for: throttling would falsify the times."""
    resources = container["resources"]
    assert resources["requests"].keys() == {"cpu", "memory"}
    assert resources["limits"].keys() == {"memory"}


def test_probes(lab: Lab, container: Manifest) -> None:
    """Each probe asks for a path that the exporter has, and a slow start is no reason for another."""
    paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {each["port"] for each in paths.values()} == {"http"}
    assert {name: each["path"] for name, each in paths.items()} == {
        "startup": "/-/healthy",
        "liveness": "/-/healthy",
        "readiness": "/-/ready",
    }
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60
    exporter = lab.exporter({"web": {"probe_only": True, "probe_allow": ["contoso.com"]}})
    assert {exporter.get(each["path"]).status for each in paths.values()} == {HTTPStatus.OK}


def config_of(manifests: list[Manifest], pod: Manifest, container: Manifest) -> tuple[str, str]:
    """Give name and text of the configuration that the exporter is started with."""
    [volume], [mount] = pod["volumes"], container["volumeMounts"]
    assert volume["name"] == mount["name"]
    assert mount["readOnly"] is True
    assert "subPath" not in mount  # or no change would ever get there
    [(name, text)] = of_kind(manifests, "ConfigMap", volume["configMap"]["name"])["data"].items()
    assert container["args"] == ["run", f"--config.file={mount['mountPath']}/{name}"]
    return name, text


def test_config_is_valid(
    manifests: list[Manifest], pod: Manifest, container: Manifest, tmp_path: Path
) -> None:
    """The configuration passes the exporter's own check, and probes no port that the policy forbids."""
    name, text = config_of(manifests, pod, container)
    (tmp_path / name).write_text(text)
    done = kms_exporter("check-config", str(tmp_path / name))
    assert done.returncode == 0, done.stdout + done.stderr
    assert loaded(text).probe.ports == (1688,)


def loaded(text: str) -> Config:
    """Parse a configuration."""
    found = parse(text.encode())
    assert isinstance(found, Config)
    return found


def test_base_is_one_exporter() -> None:
    """The base has one replica, which checks on its own."""
    manifests = build(BASE)
    assert of_kind(manifests, "Deployment")["spec"]["replicas"] == 1
    config = loaded(of_kind(manifests, "ConfigMap")["data"]["kms-exporter.yml"])
    assert not config.web.probe_only
    assert config.zones


def test_fleet_is_that_of_the_example() -> None:
    """The fleet has the configuration of the example, and what asks it asks for the same zones."""
    manifests = build(FLEET)
    assert of_kind(manifests, "Deployment")["spec"]["replicas"] > 1
    example = loaded((ROOT / "deploy/fleet/kms-exporter.yml").read_text())
    config = loaded(of_kind(manifests, "ConfigMap")["data"]["kms-exporter.yml"])
    assert config.model_copy(update={"probe": example.probe}) == example  # its ports are those of the policy
    probe, service = of_kind(manifests, "Probe"), of_kind(manifests, "Service")
    [zones] = yaml.safe_load((ROOT / "deploy/fleet/zones.yml").read_text())
    assert probe["spec"]["targets"]["staticConfig"]["static"] == zones["targets"]
    metadata, [port] = service["metadata"], service["spec"]["ports"]
    assert probe["spec"]["prober"] == {
        "url": f"{metadata['name']}.{metadata['namespace']}.svc:{port['port']}",
        "path": "/probe",
    }
    assert probe["spec"]["jobName"] == "kms"


def test_operator_scrapes_the_service() -> None:
    """The ServiceMonitor of the component selects the Service, and the port of it."""
    manifests = build(FLEET)
    monitor, service = of_kind(manifests, "ServiceMonitor"), of_kind(manifests, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {each["port"] for each in monitor["spec"]["endpoints"]} <= {
        port["name"] for port in service["spec"]["ports"]
    }
    assert {each["kind"] for each in build(OPERATOR)} == {"PrometheusRule", "ServiceMonitor"}
