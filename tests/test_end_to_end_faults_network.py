"""Faults of the network, done to the real exporter: DNS servers, KMS hosts, its own machine's network."""

import contextlib
import functools
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import TARGET, ZONE, Fault, Scene, failing, keep, table, watch
from tests.services import Lab, Namespace, Samples, config, need, srv, zone, zone_file

CLIENT, CLIENT2, SERVER, SERVER2 = "192.0.2.1", "192.0.2.9", "192.0.2.2", "192.0.2.3"
PORTS = "ipv4/ip_local_port_range"
LAST_PORT = 61000  # above those that the kernel gives away by itself

# --- What others do


def close_listener(scene: Scene) -> None:
    """Stop the KMS service; its port refuses."""
    scene.listener.close()


def open_listener(scene: Scene) -> None:
    """Start the KMS service again."""
    scene.listener = scene.lab.listener(port=scene.listener.port)


def host_is_down(scene: Scene, seen: Samples) -> bool:
    """See the host refuse while its record stands."""
    reason = seen.labels("kms_endpoint_failure", "reason", target=TARGET)
    return scene.status(seen) == "ok" and (scene.verdict(seen), reason) == (
        "port_closed",
        {"connection_refused"},
    )


def only_dns_failed(*statuses: str) -> Callable[[Scene, Samples], bool]:
    """See lookups fail, and what was found before still published, probed, and up."""
    fails = failing(*statuses, verdict="dns_failed")

    def seen_so(scene: Scene, seen: Samples) -> bool:
        published = seen.value("kms_srv_record_published", dns_zone=ZONE, target=TARGET)
        return fails(scene, seen) and (published, seen.value("kms_host_up", target=TARGET)) == (1, 1)

    return seen_so


REMOTE_FAULTS: list[Fault[Scene]] = [
    Fault(
        name="DNS server killed",
        done=lambda scene: scene.named.kill(),
        seen=only_dns_failed("unreachable", "timeout"),
        undone=lambda scene: scene.named.restart(),
    ),
    Fault(
        name="DNS server hangs",
        done=lambda scene: scene.named.send_signal(signal.SIGSTOP),
        seen=only_dns_failed("timeout"),
        undone=lambda scene: scene.named.send_signal(signal.SIGCONT),
    ),
    Fault(name="KMS service stopped", done=close_listener, seen=host_is_down, undone=open_listener),
]


@pytest.fixture(scope="module")
def loopback(module_lab: Lab) -> Scene:
    """Start the exporter on loopback."""
    return watch(module_lab, Scene)


@table(REMOTE_FAULTS)
def test_remote_fault(loopback: Scene, fault: Fault[Scene]) -> None:
    """A server that fails is told from what it serves, and found well when it is."""
    fault.happen(loopback)


# --- What becomes of this machine's network


@dataclass(slots=True, kw_only=True)
class Machine(Scene):
    """A machine of its own, with an /etc of its own, and a cable to another one that has all servers."""

    client: Namespace
    server: Namespace
    etc: Path

    def replace_resolv_conf(self, text: str) -> None:
        """Put another file in the place of resolv.conf, as programs do that write it."""
        fresh = self.etc / "resolv.conf.new"
        fresh.write_text(text)
        fresh.replace(self.etc / "resolv.conf")

    def write_resolv_conf(self, text: str) -> None:
        """Write resolv.conf where it is, as container runtimes and editors do."""
        (self.etc / "resolv.conf").write_text(text)

    def restore_resolv_conf(self) -> None:
        """Let resolv.conf name the one DNS server again."""
        self.replace_resolv_conf(RESOLV_CONF)

    def ask_elsewhere(self, seen: Samples) -> bool:
        """Tell whether the other DNS server is asked, and the first one has left."""
        servers = seen.labels("kms_srv_lookup_status", "dns_server", dns_zone=ZONE)
        return servers == {SERVER2} and seen.status(ZONE, dns_server=SERVER2) == "ok"


RESOLV_CONF = f"nameserver {SERVER}\n"
OTHER_RESOLV_CONF = f"# moved\nsearch {ZONE}\nnameserver {SERVER2}\n"
GARBAGE = "\x00\xff\xfenameserver\nnameserver 192.0.2.256\n\n options ndots:999999999999\n" + "x" * 100_000


@pytest.fixture(scope="module")
def machine(module_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Start the exporter on a machine of its own, where it asks whom resolv.conf names."""
    lab = module_lab
    client, server = lab.namespace(), lab.namespace()
    need("sh", "mount")
    client.join(server, [f"{CLIENT}/24", f"{CLIENT2}/24"], [f"{SERVER}/24", f"{SERVER2}/24"])
    etc = tmp_path_factory.mktemp("etc")
    (etc / "resolv.conf").write_text(RESOLV_CONF)
    listener = server.call(lambda: lab.listener(SERVER, 1688))
    records = zone_file(f"kms1 A {SERVER}", srv("kms1", 1688), ttl_seconds=1)
    named = lab.named({ZONE: records}, namespace=server)
    exporter = lab.exporter(
        config(zone(ZONE), source_addresses=[CLIENT2], probe={}),
        before=["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', str(etc)],
        namespace=client,
    )
    machine = Machine(
        lab=lab,
        exporter=exporter,
        named=named,
        listener=listener,
        dns_server=SERVER,
        client=client,
        server=server,
        etc=etc,
    )
    exporter.wait_for(machine.looks_right, "all is well")
    return machine


def use_up_ports(machine: Machine) -> None:
    """Leave one local port to all of this machine, taken already; look through a connection made before."""
    ranges = Path("/proc/sys/net", PORTS)
    with keep(machine.exporter) as kept, contextlib.ExitStack() as taken:
        before = machine.client.call(ranges.read_text)
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            sock = taken.enter_context(machine.client.call(functools.partial(socket.socket, type=kind)))
            sock.bind(("", LAST_PORT))
        try:
            machine.client.call(lambda: ranges.write_text(f"{LAST_PORT} {LAST_PORT}"))
            fails = failing("local_error", verdict="unknown")
            kept.wait_for(lambda seen: fails(machine, seen), "no port is left")
        finally:
            machine.client.call(lambda: ranges.write_text(before))


LOCAL_FAULTS: list[Fault[Machine]] = [
    Fault(
        name="Interface down",
        done=lambda machine: machine.client.ip("link", "set", "eth0", "down"),
        seen=failing("unreachable", "timeout", verdict="dns_failed"),
        undone=lambda machine: machine.client.ip("link", "set", "eth0", "up"),
    ),
    Fault(
        name="Answers lost on the way",
        done=lambda machine: machine.server.ip("route", "add", "blackhole", f"{CLIENT2}/32"),
        seen=failing("timeout", verdict="dns_failed"),
        undone=lambda machine: machine.server.ip("route", "delete", "blackhole", f"{CLIENT2}/32"),
    ),
    Fault(
        name="Source address removed",
        done=lambda machine: machine.client.ip("address", "delete", f"{CLIENT2}/24", "dev", "eth0"),
        seen=failing("local_error", verdict="unknown"),
        undone=lambda machine: machine.client.ip("address", "add", f"{CLIENT2}/24", "dev", "eth0"),
    ),
    Fault(name="Local ports used up", done=use_up_ports),
    Fault(
        name="resolv.conf written again in place",
        done=lambda machine: machine.write_resolv_conf(OTHER_RESOLV_CONF),
        seen=Machine.ask_elsewhere,
        undone=lambda machine: machine.write_resolv_conf(RESOLV_CONF),
    ),
    Fault(
        name="resolv.conf replaced",
        done=lambda machine: machine.replace_resolv_conf(OTHER_RESOLV_CONF),
        seen=Machine.ask_elsewhere,
        undone=Machine.restore_resolv_conf,
    ),
    Fault(
        name="resolv.conf emptied",
        done=lambda machine: machine.write_resolv_conf(""),
        undone=Machine.restore_resolv_conf,
    ),
    Fault(
        name="resolv.conf deleted",
        done=lambda machine: (machine.etc / "resolv.conf").unlink(),
        undone=Machine.restore_resolv_conf,
    ),
    Fault(
        name="resolv.conf full of garbage",
        done=lambda machine: machine.write_resolv_conf(GARBAGE),
        undone=Machine.restore_resolv_conf,
    ),
]


@table(LOCAL_FAULTS)
def test_local_fault(machine: Machine, fault: Fault[Machine]) -> None:
    """What this machine lost is told from what others fail in, and used again when it is back."""
    fault.happen(machine)
