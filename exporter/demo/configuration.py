"""The configuration that watches the lab, as text: a pure function of the ports that the lab got.

On the preferred ports it is `deploy/lab.yml`, for another kms-exporter command beside a running demo.
"""

import json
from collections.abc import Iterable

from exporter.demo.situations import CLIENTS, STATIC_HOSTS
from exporter.demo.zones import DNS_ADDRESS, SECOND_DNS_ADDRESS, Situation
from exporter.model import host_port

_LABELS = "{team: workplace, site: lab}"
"""Those that the alert rules carry along, for routing; all zones have the same."""

_TEXT = """\
# The lab of `kms-exporter demo`
interval: 10s
timeout: 2s
dns:
  servers: {dns_servers}
probe:
  networks: [127.0.0.0/8]
zones:
{zones}
hosts:
{hosts}
clients:
{clients}
"""


def configuration(situations: Iterable[Situation], *, port: int, dns_port: int) -> str:
    """Write the configuration of a lab with its endpoints on TCP `port` and its DNS servers on `dns_port`."""
    first, second = (host_port(address, dns_port) for address in (DNS_ADDRESS, SECOND_DNS_ADDRESS))
    zones = [_zone(situation, (first, second)) for situation in situations if situation.watched]
    hosts = [f'  - "{host_port(host, port)}"' for host in STATIC_HOSTS]
    clients = [f"  - name: {name}\n    suffixes: {_list(suffixes)}" for name, suffixes in CLIENTS.items()]
    return _TEXT.format(
        dns_servers=_list([first]),
        zones="\n".join(zones),
        hosts="\n".join(hosts),
        clients="\n".join(clients),
    )


def _zone(situation: Situation, dns_servers: Iterable[str]) -> str:
    lines = [f"  - name: {situation.zone}", f"    labels: {_LABELS}"]
    if situation.elsewhere is not None:
        lines.append(f"    dns_servers: {_list(dns_servers)}")
    if situation.expected is not None:
        lines.append(f"    expected: {_list(situation.expected)}")
    return "\n".join(lines)


def _list(items: Iterable[str]) -> str:
    """Write a list on one line: JSON is YAML too."""
    return json.dumps(list(items))
