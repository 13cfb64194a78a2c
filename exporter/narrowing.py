"""What was asked for, out of what is configured: what a NAME means, the configuration for it, who may ask.

Pure. A person at the terminal may ask for anything; whoever reaches the HTTP port only for what is
configured, and for what `web.probe_allow` adds to that.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

from exporter.boundaries import Boundaries
from exporter.config import Config, Zone, parse_host, parse_zone
from exporter.model import KMS_PORT, DnsServer, Host, ServerGroup, ServerSelector, host_port, is_address


def find(name: str, config: Config) -> Zone | Host:
    """Find what a NAME means: a zone or static host that is configured, or one that is not.

    A zone goes before a host, and a host that is configured before a zone that is not. Raises ValueError that
    says what is wrong with the name.
    """
    try:
        zone = parse_zone(name)
    except ValueError:
        if ":" not in name and not is_address(name):
            raise
        return parse_host(name)
    configured = next((each for each in config.zones if each.name == zone), None)
    host = Host(target=zone, port=KMS_PORT)
    return configured or (host if host in config.hosts else Zone(name=zone))


def narrow(
    config: Config, subjects: Iterable[Zone | Host] | None, servers: Iterable[ServerSelector] = ()
) -> tuple[Config, frozenset[Host]]:
    """Restrict a configuration to some zones and static hosts; gives also the static hosts that were meant.

    The other static hosts stay in it as witnesses. Without `subjects` all is meant, kinds of clients too.
    `servers`, if there are any, take the place of all DNS servers that are configured.
    """
    zones, hosts, clients = config.zones, config.hosts, config.clients
    if subjects is not None:
        found = tuple(subjects)
        zones = tuple({each.name: each for each in found if isinstance(each, Zone)}.values())
        hosts = tuple(dict.fromkeys(each for each in found if isinstance(each, Host)))
        clients = ()
    update: dict[str, object] = {"hosts": tuple(dict.fromkeys((*hosts, *config.hosts)))}
    if asked := tuple(dict.fromkeys(servers)):
        update["dns"] = config.dns.model_copy(update={"servers": asked})
        zones = tuple(zone.model_copy(update={"dns_servers": None}) for zone in zones)
        clients = tuple(client.model_copy(update={"dns_servers": None}) for client in clients)
    return config.model_copy(update={**update, "zones": zones, "clients": clients}), frozenset(hosts)


def isolate(config: Config, subject: Zone | Host, server: ServerSelector | None) -> Config:
    """Restrict a configuration to one zone or static host alone, at one DNS server if given."""
    narrowed, hosts = narrow(config, [subject], () if server is None else [server])
    return narrowed.model_copy(update={"hosts": tuple(hosts)})


def watched(config: Config) -> Config:
    """Restrict a configuration to what is checked on a timer."""
    if not config.web.probe_only:
        return config
    return config.model_copy(update={"zones": (), "hosts": (), "clients": ()})


def is_configured(subject: Zone | Host, config: Config) -> bool:
    """Tell whether a zone or static host is one of the configuration."""
    return subject in (config.hosts if isinstance(subject, Host) else config.zones)


def refuse_subject(subject: Zone | Host, config: Config) -> str | None:
    """Say why a zone or static host may not be looked at on demand; None where it may.

    A host belongs to the domain that its name is in, or to the network that its address is in. Where the
    addresses of a name may be is another matter: that holds for every probe, whoever asked for it.
    """
    if is_configured(subject, config):
        return None
    if isinstance(subject, Zone):
        what, allowed = f"zone {subject.name}", _is_below(subject.name, config)
    else:
        of_address = is_address(subject.target)
        what = f"host {host_port(subject.target, subject.port)}"
        allowed = _is_within(subject.target, config) if of_address else _is_below(subject.target, config)
    return None if allowed else f"{what} is not configured, and nothing in web.probe_allow allows it"


def refuse_server(server: ServerSelector, config: Config, system: Sequence[DnsServer]) -> str | None:
    """Say why a DNS server may not be asked on demand; None where it may.

    `system` are the servers of this machine, which may be asked by address where that word is configured.
    """
    configured = set(_configured_servers(config))
    if server in configured:
        return None
    if isinstance(server, ServerGroup):
        return f"the DNS servers `{server}` are not configured"
    if (ServerGroup.SYSTEM in configured and server in system) or _is_within(server.address, config):
        return None
    return f"DNS server {server.label} is not configured, and nothing in web.probe_allow allows it"


def _configured_servers(config: Config) -> Iterator[ServerSelector]:
    yield from config.dns.servers
    for zone in config.zones:
        yield from config.servers_of(zone)
    for client in config.clients:
        yield from config.servers_of(client)


def _is_below(name: str, config: Config) -> bool:
    suffixes = (each for each in config.web.probe_allow if isinstance(each, str))
    return any(name == suffix or name.endswith(f".{suffix}") for suffix in suffixes)


def _is_within(address: str, config: Config) -> bool:
    """Tell whether a network holds the address, and also what it stands for where that is another one."""
    networks = tuple(each for each in config.web.probe_allow if not isinstance(each, str))
    listed = Boundaries(networks=networks, nat64_prefixes=config.probe.nat64_prefixes).lists(address)
    return listed and any(ipaddress.ip_address(address) in network for network in networks)
