"""Tests of the configuration file: what is read from it, and what is said about a bad one."""

import json
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import (
    Client,
    Config,
    ConfigError,
    Problem,
    Zone,
    default,
    dump,
    json_schema,
    parse,
    parse_duration,
    parse_host,
    parse_server,
    parse_zone,
)
from exporter.config.values import show_duration
from exporter.model import DnsServer, Family, Host, ServerGroup

DEPLOY = Path(__file__).parent.parent / "deploy"
SAMPLE = (DEPLOY / "kms-exporter.yml").read_bytes()
ZONE = "zones: [{name: contoso.com}]\n"
NO_SERVER = "is neither `system` nor `authoritative` nor an IP address with an optional port"
NO_LABEL = "is not a label name: letters, digits and _ only, no digit first"
ONE_EACH = "there may be one IPv4 and one IPv6 address, and of this kind there is already"
SAME_KEYS = "must have the same keys as"
ENDS_IN_NUMBER = "ends in a number, as no domain name does"
NO_PREFIX = "is not an IPv6 prefix of length 32, 40, 48, 56, 64 or 96"
BITS_AFTER = "has bits after the prefix, did you mean"
TOO_MANY = "has more hosts than limits.records_per_zone"
NO_RECORD = "must be a name, for a record cannot hold an IP address"
NOTHING = "there is nothing to watch: give zones, hosts or clients, or web.probe_allow"
ONLY_CLIENTS = "leaves nothing to look at: clients are checked only on a timer"
BAD_ALLOW = (
    "1.2.3.4/8",
    "a..b",
    "10.0.0",
    "a b",
    "'*.b'",
    "a.b",
    "A.B.",
    "10.0.0.0/8",
    "5",
    "10.0.0.0/255.0.0.0",
)
NO_DURATION = "must be a duration with a unit, such as 30s"


def problems(text: str | bytes) -> list[str]:
    """Say what is wrong with a bad file."""
    with pytest.raises(ConfigError) as caught:
        parse(text if isinstance(text, bytes) else text.encode())
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return [str(problem) for problem in caught.value.problems]


def value_of(config: Config, path: str) -> object:
    """Follow a path such as `zones.0.name` into a configuration."""
    value: Any = config
    for step in path.split("."):
        value = value[int(step)] if step.isdecimal() else getattr(value, step)
    return value


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        (ZONE, "interval", 60.0),
        (ZONE, "timeout", 5.0),
        (ZONE, "source_addresses", ()),
        (ZONE, "dns.servers", (ServerGroup.SYSTEM,)),
        (ZONE, "dns.attempts", 2),
        (ZONE, "probe.rpc_bind", True),
        (ZONE, "probe.address_families", (Family.IPV4, Family.IPV6)),
        (ZONE, "probe.max_concurrency", 256),
        (ZONE, "probe.networks", ()),
        (ZONE, "probe.ports", ()),
        (ZONE, "probe.nat64_prefixes", ()),
        (ZONE, "limits.records_per_zone", 64),
        (ZONE, "limits.addresses_per_target", 16),
        (ZONE, "limits.probes_per_check", 256),
        (ZONE, "limits.vanished_per_zone", 64),
        (ZONE, "forget_after", 86400.0),
        (ZONE, "web.probe_allow", ()),
        (ZONE, "web.probe_only", False),
        (ZONE, "hosts", ()),
        (ZONE, "clients", ()),
        (ZONE, "zones", (Zone(name="contoso.com"),)),
        (ZONE, "zones.0.dns_servers", None),
        (ZONE, "zones.0.expected", None),
        (ZONE, "zones.0.labels", {}),
        (ZONE + "interval: 1m30s", "interval", 90.0),
        (ZONE + "timeout: 250ms", "timeout", 0.25),
        (ZONE + "timeout: 1s100ms", "timeout", 1.1),
        (ZONE + "forget_after: 1y2w3d4h5m6s7ms", "forget_after", 33019506.007),
        (ZONE + "forget_after: 0s", "forget_after", 0.0),
        (ZONE + "forget_after: '0'", "forget_after", 0.0),
        (
            ZONE + "source_addresses: [10.0.0.1, '2001:DB8:0::1']",
            "source_addresses",
            ("10.0.0.1", "2001:db8::1"),
        ),
        (ZONE + "limits: {vanished_per_zone: 0}", "limits.vanished_per_zone", 0),
        (ZONE + "probe: {rpc_bind: false}", "probe.rpc_bind", False),
        (ZONE + "probe: {rpc_bind: on}", "probe.rpc_bind", True),
        (ZONE + "probe: {address_families: [ipv6]}", "probe.address_families", (Family.IPV6,)),
        (ZONE + "probe: {ports: [1688, 65535]}", "probe.ports", (1688, 65535)),
        (
            ZONE + "probe: {networks: [10.0.0.0/8, 10.1.2.3, '2001:DB8::/32']}",
            "probe.networks",
            (ip_network("10.0.0.0/8"), ip_network("10.1.2.3/32"), ip_network("2001:db8::/32")),
        ),
        (
            ZONE + "probe: {nat64_prefixes: ['2001:DB8:64::/96', '64:ff9b:1::/48']}",
            "probe.nat64_prefixes",
            (ip_network("2001:db8:64::/96"), ip_network("64:ff9b:1::/48")),
        ),
        (ZONE + "web: {probe_only: true}", "web.probe_only", True),
        ("hosts: [kms.contoso.com]\nweb: {probe_only: true}", "web.probe_only", True),
        ("web: {probe_allow: [contoso.com]}", "zones", ()),
        ("web: {probe_allow: [contoso.com], probe_only: true}", "web.probe_only", True),
        (
            "web: {probe_allow: [Contoso.COM., münchen.test, 10.0.0.0/8, 10.1.2.3, '2001:DB8::/32', '::1']}",
            "web.probe_allow",
            (
                "contoso.com",
                "xn--mnchen-3ya.test",
                ip_network("10.0.0.0/8"),
                ip_network("10.1.2.3/32"),
                ip_network("2001:db8::/32"),
                ip_network("::1/128"),
            ),
        ),
        (
            ZONE + "dns: {servers: [authoritative, 10.0.0.10, '10.0.0.10:5353', 2001:DB8::53]}",
            "dns.servers",
            (
                ServerGroup.AUTHORITATIVE,
                DnsServer(address="10.0.0.10"),
                DnsServer(address="10.0.0.10", port=5353),
                DnsServer(address="2001:db8::53"),
            ),
        ),
        (
            ZONE + "dns: {servers: ['[2001:db8::53]', '[2001:db8::53]:5353', 'fe80::1%eth0']}",
            "dns.servers",
            (
                DnsServer(address="2001:db8::53"),
                DnsServer(address="2001:db8::53", port=5353),
                DnsServer(address="fe80::1%eth0"),
            ),
        ),
        ("zones: [{name: Bücher.Example.}]", "zones.0.name", "xn--bcher-kva.example"),
        ("zones: [{name: a.b, labels: {team: 'no', _x9: ''}}]", "zones.0.labels", {"team": "no", "_x9": ""}),
        ("zones: [{name: a.b, labels: {x: y}}, {name: c.d}]", "zones.1.labels", {}),
        ("zones: [{name: a.b, dns_servers: [system]}]", "zones.0.dns_servers", (ServerGroup.SYSTEM,)),
        ("zones: [{name: a.b, expected: []}]", "zones.0.expected", ()),
        (
            "limits: {records_per_zone: 1}\nzones: [{name: a.b, expected: [k]}]",
            "zones.0.expected",
            (Host(target="k", port=1688),),
        ),
        ("zones: [{name: 5.b}, {name: a.x5}]", "zones.0.name", "5.b"),
        (
            "zones: [{name: a.b, expected: [KMS1.Contoso.com., 'kms2:1689', kms2, Bücher.example:1]}]",
            "zones.0.expected",
            (
                Host(target="kms1.contoso.com", port=1688),
                Host(target="kms2", port=1689),
                Host(target="kms2", port=1688),
                Host(target="xn--bcher-kva.example", port=1),
            ),
        ),
        (
            "zones: [{name: a.b, expected: [k]}, {name: c.d, expected: [k]}]",
            "zones.1.expected.0.target",
            "k",
        ),
        (
            "clients: [{name: 'Café, 2nd floor', suffixes: [B.Example., a.example]}]",
            "clients",
            (Client(name="Café, 2nd floor", suffixes=("b.example", "a.example")),),
        ),
        (f"clients: [{{name: {'é' * 100}, suffixes: [a.b]}}]", "clients.0.name", "é" * 100),
        ("clients: [{name: x, suffixes: [a.b]}]", "clients.0.dns_servers", None),
        (
            "clients: [{name: x, suffixes: [a.b], dns_servers: [10.9.0.53, system]}]",
            "clients.0.dns_servers",
            (DnsServer(address="10.9.0.53"), ServerGroup.SYSTEM),
        ),
        ("clients: [{name: x, suffixes: [a.b]}, {name: X, suffixes: [a.b]}]", "clients.1.name", "X"),
        ("hosts: [KMS.Contoso.com.]", "hosts.0", Host(target="kms.contoso.com", port=1688)),
        ("hosts: [kms:1689]", "hosts.0", Host(target="kms", port=1689)),
        ("hosts: [10.1.2.3]", "hosts.0", Host(target="10.1.2.3", port=1688)),
        ("hosts: [10.1.2.3:1]", "hosts.0", Host(target="10.1.2.3", port=1)),
        ("hosts: ['2001:DB8:0::5']", "hosts.0", Host(target="2001:db8::5", port=1688)),
        ("hosts: ['[2001:db8::5]']", "hosts.0", Host(target="2001:db8::5", port=1688)),
        ("hosts: ['[2001:db8::5]:65535']", "hosts.0", Host(target="2001:db8::5", port=65535)),
        ("hosts: [kms1, kms1:1689]", "hosts.1", Host(target="kms1", port=1689)),
        ("\ufeffhosts: [kms1]", "hosts.0.target", "kms1"),
        (
            "hosts: &a [kms1]\nzones: [{name: &n x.y}, {name: z.y, labels: {n: *n}}]",
            "zones.1.labels",
            {"n": "x.y"},
        ),
        (
            "zones:\n- &a {name: a.b, labels: {x: y}}\n- {<<: [*a, {name: q.q}], name: c.d}",
            "zones.1",
            Zone(name="c.d", labels={"x": "y"}),
        ),
    ],
)
def test_good(text: str, path: str, expected: object) -> None:
    """Each value of a good file is read into its canonical form, and what is left out has its default."""
    assert value_of(parse(text.encode()), path) == expected
    jsonschema.validate(yaml.safe_load(text.removeprefix("\ufeff")), json_schema())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The file as a whole
        ("", ["is empty"]),
        ("# nothing\n---\n", ["is empty"]),
        ("null", ["is empty"]),
        ("contoso.com", ["must be a mapping"]),
        ("- name: contoso.com", ["must be a mapping"]),
        ("{}", [NOTHING]),
        ("zones: []\nhosts: []\nclients: []", [NOTHING]),
        ("web: {probe_allow: []}", [NOTHING]),
        ("web: {probe_only: true}", [NOTHING]),
        ("web:", [NOTHING, "line 1: web: must be a mapping"]),
        (
            "clients: [{name: x, suffixes: [a.b]}]\nweb: {probe_only: true}",
            [f"line 2: web.probe_only: {ONLY_CLIENTS}"],
        ),
        (
            f"web:\n  probe_onyl: true\n  probe_allow: [{', '.join(BAD_ALLOW)}]",
            [
                "line 2: web.probe_onyl: unknown key, did you mean probe_only?",
                "line 3: web.probe_allow[0]: '1.2.3.4/8' has bits after the prefix, did you mean 1.0.0.0/8?",
                "line 3: web.probe_allow[1]: has an empty label",
                f"line 3: web.probe_allow[2]: {ENDS_IN_NUMBER}",
                "line 3: web.probe_allow[3]: has a label with characters that host names may not have: 'a b'",
                "line 3: web.probe_allow[4]: has a label with characters that host names may not have: '*'",
                "line 3: web.probe_allow[8]: must be text: put it in quotes",
                "line 3: web.probe_allow[6]: is the same as web.probe_allow[5] on line 3",
                "line 3: web.probe_allow[9]: is the same as web.probe_allow[7] on line 3",
            ],
        ),
        (b"\n\nzones: \xff", ["line 3: is not UTF-8 text"]),
        (b"\nzones: \x07", ["line 2: holds the control character 7"]),
        (b"#" * (4 * 2**20 + 1), ["is larger than 4 MiB"]),
        ("a: 1\n---\nb: 1", ["line 2: is not valid YAML: but found another document"]),
        ("a: b: c", ["line 1: is not valid YAML: mapping values are not allowed here"]),
        ("\nzones: [", ["line 2: is not valid YAML: expected the node content, but found '<stream end>'"]),
        ("\nhosts: [*a]", ["line 2: is not valid YAML: found undefined alias 'a'"]),
        ('\nhosts: ["\\UFFFFFFFF"]', ["line 2: is not valid YAML"]),
        ("[" * 100_000, ["line 1: is nested more than 32 levels deep"]),
        # YAML that is no plain data
        (
            "hosts: [kms1, !!python/object:os.system {}]",
            ["line 1: hosts[1]: has the YAML tag '!!python/object:os.system', which is not allowed"],
        ),
        ("hosts: [!secret x]", ["line 1: hosts[0]: has the YAML tag '!secret', which is not allowed"]),
        ("hosts: !!set {a}", ["line 1: hosts: has the YAML tag '!!set', which is not allowed"]),
        ("hosts: [=]", ["line 1: hosts[0]: has the YAML tag '!!value', which is not allowed"]),
        ("hosts: [2024-99-99]", ["line 1: hosts[0]: is written like a timestamp but is none: '2024-99-99'"]),
        ("hosts: [!!bool x]", ["line 1: hosts[0]: is written like a bool but is none: 'x'"]),
        (
            ZONE + "dns: {attempts: " + "9" * 999 + "}",
            [f"line 2: dns.attempts: is longer than any number may be: '{'9' * 60}…'"],
        ),
        (
            'hosts: ["\\ud800", "\\x07"]',
            ["line 1: hosts[0]: holds a control character", "line 1: hosts[1]: holds a control character"],
        ),
        (
            "hosts: [kms1]\nzones: &z [*z]",
            ["line 2: zones[0]: is an alias of something that holds this alias"],
        ),
        (
            "hosts: [kms1]\nzones: [&z {name: a.b, <<: *z}]",
            ["line 2: zones[0].<<: merges something that holds this merge, or is nested too deep"],
        ),
        ("hosts: [" + "x" * 4097 + "]", ["line 1: hosts[0]: is longer than 4096 characters"]),
        ("hosts: [kms1]\n<<: 5", ["line 2: <<: can merge only a mapping or a list of mappings"]),
        ("hosts: [kms1]\nhosts: [kms2]", ["line 2: hosts: is given twice, first on line 1"]),
        ("zones:\n- name: a.b\n  name: c.d", ["line 3: zones[0].name: is given twice, first on line 2"]),
        (ZONE + "no: 5", ["line 2: has the key 'no', which must be text: put it in quotes"]),
        (ZONE + "? [a]\n: 5", ["line 2: has a key that is a list or a mapping"]),
        (ZONE + '"\\x07": 5', ["line 2: has a key with a control character: '\\x07'"]),
        # Keys
        (ZONE + "intervall: 5s", ["line 2: intervall: unknown key, did you mean interval?"]),
        (ZONE + "dns:\n  server: [system]", ["line 3: dns.server: unknown key, did you mean servers?"]),
        (ZONE + "xyzzy: 1", ["line 2: xyzzy: unknown key"]),
        (ZONE + '"a.b": 1', ["line 2: ['a.b']: unknown key"]),
        (
            ZONE + "probe:\n  rpcbind: true",
            ["line 3: probe.rpcbind: unknown key, did you mean rpc_bind?"],
        ),
        (
            "zones:\n- name: a.b\n  expect: []",
            ["line 3: zones[0].expect: unknown key, did you mean expected?"],
        ),
        (
            "clients:\n- name: x\n  sufixes: [a.b]\n  labels: {}",
            [
                "line 2: clients[0].suffixes: is required",
                "line 3: clients[0].sufixes: unknown key, did you mean suffixes?",
                "line 4: clients[0].labels: unknown key",
            ],
        ),
        (
            "zones:\n- nam: a.b",
            ["line 2: zones[0].name: is required", "line 2: zones[0].nam: unknown key, did you mean name?"],
        ),
        # Kinds
        ("zones:", ["line 1: zones: must be a list"]),
        ("zones: contoso.com", ["line 1: zones: must be a list"]),
        ("zones: [contoso.com]", ["line 1: zones[0]: must be a mapping"]),
        ("zones: [{name: }]", ["line 1: zones[0].name: must be text: put it in quotes"]),
        ("zones: [{name: a.b, dns_servers: }]", ["line 1: zones[0].dns_servers: must be a list"]),
        ("zones: [{name: a.b, dns_servers: []}]", ["line 1: zones[0].dns_servers: must not be empty"]),
        ("zones:\n- name: a.b\n  expected:", ["line 3: zones[0].expected: must be a list"]),
        ("zones: [{name: a.b, expected: kms1}]", ["line 1: zones[0].expected: must be a list"]),
        (
            "zones: [{name: a.b, expected: [5, no]}]",
            [f"line 1: zones[0].expected[{i}]: must be text: put it in quotes" for i in range(2)],
        ),
        (ZONE + "clients:", ["line 2: clients: must be a list"]),
        (ZONE + "clients: [x]", ["line 2: clients[0]: must be a mapping"]),
        ("zones: [{name: a.b, labels: }]", ["line 1: zones[0].labels: must be a mapping"]),
        ("hosts: [5, no, [a]]", [f"line 1: hosts[{i}]: must be text: put it in quotes" for i in range(3)]),
        (ZONE + "dns:", ["line 2: dns: must be a mapping"]),
        (ZONE + "dns: {servers: []}", ["line 2: dns.servers: must not be empty"]),
        (ZONE + "dns: {attempts: yes}", ["line 2: dns.attempts: must be a whole number"]),
        (ZONE + "dns: {attempts: 2.0}", ["line 2: dns.attempts: must be a whole number"]),
        (ZONE + "dns: {attempts: '2'}", ["line 2: dns.attempts: must be a whole number"]),
        (ZONE + "probe: {rpc_bind: 'true'}", ["line 2: probe.rpc_bind: must be true or false"]),
        (ZONE + "probe: {rpc_bind: 1}", ["line 2: probe.rpc_bind: must be true or false"]),
        (ZONE + "probe:\n  rpc_bind:", ["line 3: probe.rpc_bind: must be true or false"]),
        # Numbers
        (ZONE + "dns: {attempts: 0}", ["line 2: dns.attempts: must be at least 1"]),
        (ZONE + "dns: {attempts: 11}", ["line 2: dns.attempts: must be at most 10"]),
        (ZONE + "probe: {max_concurrency: 0}", ["line 2: probe.max_concurrency: must be at least 1"]),
        (
            ZONE + "probe: {ports: [0, 65536]}",
            ["line 2: probe.ports[0]: must be at least 1", "line 2: probe.ports[1]: must be at most 65535"],
        ),
        (
            ZONE + "limits: {probes_per_check: 0}",
            ["line 2: limits.probes_per_check: must be at least 1"],
        ),
        (
            ZONE + "limits: {records_per_zone: 0, addresses_per_target: 10001, vanished_per_zone: -1}",
            [
                "line 2: limits.records_per_zone: must be at least 1",
                "line 2: limits.addresses_per_target: must be at most 10000",
                "line 2: limits.vanished_per_zone: must be at least 0",
            ],
        ),
        # Durations
        (ZONE + "interval: 60", [f"line 2: interval: {NO_DURATION}"]),
        (ZONE + "interval: 0.5", [f"line 2: interval: {NO_DURATION}"]),
        (ZONE + "interval:", [f"line 2: interval: {NO_DURATION}"]),
        (ZONE + "interval: ''", [f"line 2: interval: {NO_DURATION}"]),
        (ZONE + "interval: 30s1m", [f"line 2: interval: {NO_DURATION}"]),
        (ZONE + "interval: 1.5s", [f"line 2: interval: {NO_DURATION}"]),
        (ZONE + "interval: ٣s", [f"line 2: interval: {NO_DURATION}"]),
        (ZONE + "interval: -x", [f"line 2: interval: {NO_DURATION}"]),
        (ZONE + "interval: [5s]", [f"line 2: interval: {NO_DURATION}"]),
        (ZONE + "interval: -30s", ["line 2: interval: must not be negative"]),
        (ZONE + "timeout: -5", ["line 2: timeout: must not be negative"]),
        (ZONE + "forget_after: -1ms", ["line 2: forget_after: must not be negative"]),
        (ZONE + "forget_after: 293y", ["line 2: forget_after: is longer than 292 years"]),
        (ZONE + f"forget_after: {'9' * 4000}s", ["line 2: forget_after: is longer than 292 years"]),
        (ZONE + "interval: 999ms\ntimeout: 10ms", ["line 2: interval: must be at least 1s"]),
        (ZONE + "timeout: 0s", ["line 2: timeout: must be longer than 0s"]),
        (ZONE + "timeout: 60s", ["line 2: timeout: the timeout must be shorter than the interval"]),
        (ZONE + "interval: 5s", ["line 2: interval: the timeout must be shorter than the interval"]),
        (
            ZONE + "interval: 5s\ntimeout: 6s",
            ["line 3: timeout: the timeout must be shorter than the interval"],
        ),
        # Addresses
        (
            ZONE + "source_addresses: [10.0.0.1, 10.0.0.2]",
            [f"line 2: source_addresses[1]: {ONE_EACH} source_addresses[0] on line 2"],
        ),
        (
            ZONE + "source_addresses: [10.0.0.300, 0.0.0.0, '::ffff:10.0.0.1', 'fe80::1%a b']",
            [
                "line 2: source_addresses[0]: '10.0.0.300' is not an IP address",
                "line 2: source_addresses[1]: 0.0.0.0 is not the address of a machine",
                "line 2: source_addresses[2]: must be written as the IPv4 address 10.0.0.1",
                "line 2: source_addresses[3]: 'fe80::1%a b' is not an IP address",
            ],
        ),
        (
            ZONE + "dns: {servers: [ns1.contoso.com, 10.0.0.10:0, '[10.0.0.10]:53', '[::1']}",
            [
                f"line 2: dns.servers[0]: 'ns1.contoso.com' {NO_SERVER}",
                "line 2: dns.servers[1]: has a port that is not between 1 and 65535: '0'",
                "line 2: dns.servers[2]: '10.0.0.10' in brackets is not an IPv6 address",
                f"line 2: dns.servers[3]: '[::1' {NO_SERVER}",
            ],
        ),
        (
            ZONE + "dns: {servers: [10.0.0.10, 10.0.0.10:53]}",
            ["line 2: dns.servers[1]: is the same as dns.servers[0] on line 2"],
        ),
        (
            "zones: [{name: a.b, dns_servers: [system, system]}]",
            ["line 1: zones[0].dns_servers[1]: is the same as zones[0].dns_servers[0] on line 1"],
        ),
        (
            ZONE + "probe: {networks: [10.1.0.0/8, 10.0.0.0/33, 'fe80::%a/64', 10.0.0.0/8, 10.0.0.0/8]}",
            [
                "line 2: probe.networks[0]: '10.1.0.0/8' has bits after the prefix, did you mean 10.0.0.0/8?",
                "line 2: probe.networks[1]: '10.0.0.0/33' is not a network such as 10.0.0.0/8",
                "line 2: probe.networks[2]: 'fe80::%a/64' is not a network such as 10.0.0.0/8",
                "line 2: probe.networks[4]: is the same as probe.networks[3] on line 2",
            ],
        ),
        (
            ZONE + "probe: {nat64_prefixes: [10.0.0.0/8, '2001:db8::/95', '2001:db8::1/96', '64:ff9b:1::/48',"
            " '64:FF9B:1::/48']}",
            [
                f"line 2: probe.nat64_prefixes[0]: '10.0.0.0/8' {NO_PREFIX}",
                f"line 2: probe.nat64_prefixes[1]: '2001:db8::/95' {NO_PREFIX}",
                f"line 2: probe.nat64_prefixes[2]: '2001:db8::1/96' {BITS_AFTER} 2001:db8::/96?",
                "line 2: probe.nat64_prefixes[4]: is the same as probe.nat64_prefixes[3] on line 2",
            ],
        ),
        (
            ZONE + "probe: {ports: [1688, 1688]}",
            ["line 2: probe.ports[1]: is the same as probe.ports[0] on line 2"],
        ),
        (
            ZONE + "probe: {address_families: [ipv5]}",
            ["line 2: probe.address_families[0]: must be ipv4 or ipv6"],
        ),
        (ZONE + "probe: {address_families: []}", ["line 2: probe.address_families: must not be empty"]),
        (
            ZONE + "probe: {address_families: [ipv4, ipv4]}",
            ["line 2: probe.address_families[1]: is the same as probe.address_families[0] on line 2"],
        ),
        # Hosts
        (
            "hosts:\n- 10.1.2.300\n- 10.1.2\n- \uff11.1.2.3\n- '[::1]:0'\n- k:65536\n- 'k:'\n- ''\n- 1::2::3",
            [
                "line 2: hosts[0]: '10.1.2.300' is not an IP address",
                "line 3: hosts[1]: '10.1.2' is not an IP address",
                "line 4: hosts[2]: '\uff11.1.2.3' is not an IP address",
                "line 5: hosts[3]: has a port that is not between 1 and 65535: '0'",
                "line 6: hosts[4]: has a port that is not between 1 and 65535: '65536'",
                "line 7: hosts[5]: has a port that is not between 1 and 65535: ''",
                "line 8: hosts[6]: has an empty label",
                "line 9: hosts[7]: '1::2::3' is not an IP address",
            ],
        ),
        (
            "hosts:\n- kms1\n- KMS1.:1688\n- '::1'\n- '[0::1]'",
            [
                "line 3: hosts[1]: is the same as hosts[0] on line 2",
                "line 5: hosts[3]: is the same as hosts[2] on line 4",
            ],
        ),
        # Zones
        ("zones: [{name: a..b}]", ["line 1: zones[0].name: has an empty label"]),
        ("zones: [{name: 10.1.2.3}]", ["line 1: zones[0].name: is an IP address, not a domain name"]),
        (
            "zones:\n- name: 10.1.2.300\n- name: contoso.5.\n- name: a.0x1F\n- {name: '5'}",
            [f"line {2 + i}: zones[{i}].name: {ENDS_IN_NUMBER}" for i in range(4)],
        ),
        (
            f"zones: [{{name: a.b, expected: [{', '.join(f'k{i}' for i in range(65))}]}}]",
            [f"line 1: zones[0].expected: {TOO_MANY}, which is 64"],
        ),
        (
            "limits: {records_per_zone: 1}\nzones:\n- {name: a, expected: []}\n- name: b\n  expected: [k, l]",
            [f"line 5: zones[1].expected: {TOO_MANY}, which is 1"],
        ),
        (
            "limits: {records_per_zone: many}\nzones:\n- {name: a.b, expected: [k1, k2]}",
            ["line 1: limits.records_per_zone: must be a whole number"],
        ),
        (
            "limits: 5\nzones:\n- {name: a.b, expected: [k1, k2]}",
            ["line 1: limits: must be a mapping"],
        ),
        (f"zones: [{{name: {'a.' * 120}bc}}]", ["line 1: zones[0].name: is longer than 241 characters"]),
        (
            "zones:\n- name: a.b\n- name: A.B.",
            ["line 3: zones[1].name: is the same as zones[0].name on line 2"],
        ),
        (
            "zones:\n- {name: a.b, expected: [k]}\n- name: c.d\n  expected:\n  - K.\n  - k:1689\n  - k:1688",
            ["line 7: zones[1].expected[2]: is the same as zones[1].expected[0] on line 5"],
        ),
        (
            "zones: [{name: a.b, expected: [10.1.2.3, '10.1.2.3:1688', '2001:db8::5', '[::1]:1688']}]",
            [f"line 1: zones[0].expected[{i}]: {NO_RECORD}" for i in range(4)],
        ),
        (
            "zones: [{name: a.b, expected: [10.1.2.300, 'kms1:', kms1:0, '[kms1]:1688', '', '!']}]",
            [
                f"line 1: zones[0].expected[0]: {NO_RECORD}",
                "line 1: zones[0].expected[1]: has a port that is not between 1 and 65535: ''",
                "line 1: zones[0].expected[2]: has a port that is not between 1 and 65535: '0'",
                "line 1: zones[0].expected[3]: 'kms1' in brackets is not an IPv6 address",
                "line 1: zones[0].expected[4]: has an empty label",
                "line 1: zones[0].expected[5]: has a label with characters that host names may not have: '!'",
            ],
        ),
        # Clients
        (
            "clients:\n- suffixes: [a.b]\n- name: x",
            ["line 2: clients[0].name: is required", "line 3: clients[1].suffixes: is required"],
        ),
        (
            "clients:\n- {name: '', suffixes: }\n- {name: ' x', suffixes: []}\n- {name: 'x ', suffixes: a.b}",
            [
                "line 2: clients[0].name: must not be empty",
                "line 2: clients[0].suffixes: must be a list",
                "line 3: clients[1].name: must not begin or end with a blank",
                "line 3: clients[1].suffixes: must not be empty",
                "line 4: clients[2].name: must not begin or end with a blank",
                "line 4: clients[2].suffixes: must be a list",
            ],
        ),
        (
            f"clients:\n- {{name: {'x' * 101}, suffixes: [a..b, 10.1.2.3, 5]}}\n- {{name: 5, suffixes: [x]}}",
            [
                "line 2: clients[0].name: is longer than 100 characters",
                "line 2: clients[0].suffixes[0]: has an empty label",
                "line 2: clients[0].suffixes[1]: is an IP address, not a domain name",
                "line 2: clients[0].suffixes[2]: must be text: put it in quotes",
                "line 3: clients[1].name: must be text: put it in quotes",
            ],
        ),
        (
            "clients: [{name: x, suffixes: [a.b, a.5]}]",
            [f"line 1: clients[0].suffixes[1]: {ENDS_IN_NUMBER}"],
        ),
        (
            'clients: [{name: "x\\ty", suffixes: [a.b]}]',
            ["line 1: clients[0].name: holds a character that cannot be shown"],
        ),
        (
            "clients:\n- {name: x, suffixes: [a.b]}\n- {name: x, suffixes: [a.b, c.d, A.B.]}",
            [
                "line 3: clients[1].suffixes[2]: is the same as clients[1].suffixes[0] on line 3",
                "line 3: clients[1].name: is the same as clients[0].name on line 2",
            ],
        ),
        (
            "clients: [{name: x, suffixes: [a.b], dns_servers: [10.0.0.1, '10.0.0.1:53']}]",
            ["line 1: clients[0].dns_servers[1]: is the same as clients[0].dns_servers[0] on line 1"],
        ),
        (
            "clients: [{name: x, suffixes: [a.b], dns_servers: []}]",
            ["line 1: clients[0].dns_servers: must not be empty"],
        ),
        (
            "clients: [{name: x, suffixes: [a.b], dns_servers: }]",
            ["line 1: clients[0].dns_servers: must be a list"],
        ),
        # Labels
        (
            "zones:\n- name: a.b\n  labels: {job: x}",
            ["line 3: zones[0].labels.job: is a label that Prometheus itself uses"],
        ),
        (
            "zones: [{name: a.b, labels: {le: x, dns_zone: x, __a: x, a-b: x, 'é': x, '[key]': x}}]",
            [
                "line 1: zones[0].labels.le: is a label that Prometheus itself uses",
                "line 1: zones[0].labels.dns_zone: is a label that this exporter itself uses",
                "line 1: zones[0].labels.__a: starts with __, which Prometheus keeps for itself",
                f"line 1: zones[0].labels.a-b: {NO_LABEL}",
                f"line 1: zones[0].labels['é']: {NO_LABEL}",
                f"line 1: zones[0].labels['[key]']: {NO_LABEL}",
            ],
        ),
        (
            "zones: [{name: a.b, labels: {a: no, b: 5, c: }}]",
            [f"line 1: zones[0].labels.{key}: must be text: put it in quotes" for key in "abc"],
        ),
        (
            "zones:\n- name: a.b\n- {name: a.c, labels: {x: y, z: z}}\n- {name: a.d, labels: {x: y, w: w}}",
            [f"line 4: zones[2].labels: {SAME_KEYS} zones[1].labels on line 3, but differs in 'w', 'z'"],
        ),
    ],
)
def test_bad(text: str | bytes, expected: list[str]) -> None:
    """A bad file is refused with exactly its problems, each at its line and key path."""
    assert problems(text) == expected


def test_every_problem_at_once() -> None:
    """Problems of the syntax tree, of single fields and across fields are all reported in one go."""
    text = """\
interval: 30s
interval: 40s
timeout: 1m
timeoutt: 1m
dns:
  attempts: none
  servers: [10.0.0.1, 10.0.0.1]
probe: {rpc_bind: maybe}
zones:
  - name: contoso.com
    labels: {team: 5}
  - name: contoso.com
    labels: {le: a}
  - dns_servers: [10.0.0.300]
    expected: [kms1, 10.0.0.1, kms1]
hosts:
  - !weird kms1
  - kms1:0
clients:
  - suffixes: [contoso.com, contoso.com]
    nam: x
forget_after: -1s
"""
    assert problems(text) == [
        "line 2: interval: is given twice, first on line 1",
        "line 3: timeout: the timeout must be shorter than the interval",
        "line 4: timeoutt: unknown key, did you mean timeout?",
        "line 6: dns.attempts: must be a whole number",
        "line 7: dns.servers[1]: is the same as dns.servers[0] on line 7",
        "line 8: probe.rpc_bind: must be true or false",
        "line 11: zones[0].labels.team: must be text: put it in quotes",
        "line 12: zones[1].name: is the same as zones[0].name on line 10",
        "line 13: zones[1].labels.le: is a label that Prometheus itself uses",
        f"line 13: zones[1].labels: {SAME_KEYS} zones[0].labels on line 11, but differs in 'le', 'team'",
        "line 14: zones[2].name: is required",
        f"line 14: zones[2].dns_servers[0]: '10.0.0.300' {NO_SERVER}",
        f"line 15: zones[2].expected[1]: {NO_RECORD}",
        "line 15: zones[2].expected[2]: is the same as zones[2].expected[0] on line 15",
        "line 17: hosts[0]: has the YAML tag '!weird', which is not allowed",
        "line 18: hosts[1]: has a port that is not between 1 and 65535: '0'",
        "line 20: clients[0].name: is required",
        "line 20: clients[0].suffixes[1]: is the same as clients[0].suffixes[0] on line 20",
        "line 21: clients[0].nam: unknown key, did you mean name?",
        "line 22: forget_after: must not be negative",
    ]


@pytest.mark.parametrize("form", ["[{}]", "{{<<: [{}]}}"])
def test_alias_bomb(form: str) -> None:
    """Aliases that would unfold to billions of values are refused before they do."""
    bomb = "a0: &a0 {x: y}\n" + "".join(
        f"a{i}: &a{i} {form.format(', '.join([f'*a{i - 1}'] * 10))}\n" for i in range(1, 11)
    )
    [problem] = problems(bomb)
    assert problem.endswith("holds more than 250000 values, those behind aliases counted each time")


def test_alias_chain() -> None:
    """Aliases that nest what is flat in the file do not get around the limit of nesting."""
    chain = "a0: &a0 x\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 50))
    assert any("is nested more than 32 levels deep" in problem for problem in problems(chain))


def test_problem_in_words() -> None:
    """A problem says its line and path where it has them."""
    assert str(Problem(line=12, path="zones[1].name", message="bad")) == "line 12: zones[1].name: bad"
    assert str(Problem(line=None, path="", message="bad")) == "bad"


def test_default() -> None:
    """Without a file there are the given zones, each once, and defaults for the rest."""
    config = default(["Contoso.com", "contoso.com.", "emea.contoso.com"])
    assert config == parse(b"zones: [{name: contoso.com}, {name: emea.contoso.com}]")


@pytest.mark.parametrize(
    ("zones", "message"),
    [
        ([], NOTHING),
        (["."], "zones[0].name: has an empty label"),
        (["contoso.5"], f"zones[0].name: {ENDS_IN_NUMBER}"),
    ],
)
def test_default_refuses(zones: list[str], message: str) -> None:
    """Without a file, no zone or a bad one is a problem without a line."""
    with pytest.raises(ConfigError) as caught:
        default(zones)
    assert str(caught.value) == message


def test_servers_of() -> None:
    """Zones and clients have DNS servers of their own, or those of everybody when they name none."""
    config = parse(
        b"dns: {servers: [10.0.0.2]}\n"
        b"zones: [{name: a.b}, {name: c.d, dns_servers: [10.0.0.1]}]\n"
        b"clients: [{name: x, suffixes: [a.b]}, {name: y, suffixes: [a.b], dns_servers: [10.0.0.3]}]"
    )
    default_server, of_zone, of_client = (DnsServer(address=f"10.0.0.{last}") for last in (2, 1, 3))
    assert [config.servers_of(zone) for zone in config.zones] == [(default_server,), (of_zone,)]
    assert [config.servers_of(client) for client in config.clients] == [(default_server,), (of_client,)]


def test_values_by_themselves() -> None:
    """What a person types elsewhere is read as it would be from the file."""
    assert parse_zone("Contoso.com.") == "contoso.com"
    assert parse_host("KMS1:1689") == Host(target="kms1", port=1689)
    assert parse_server("[2001:DB8::53]:5353") == DnsServer(address="2001:db8::53", port=5353)
    assert parse_duration("1m30s") == 90.0
    with pytest.raises(ValueError, match="has an empty label"):
        parse_zone("contoso..com")


def test_schema_is_current() -> None:
    """The JSON Schema in the repository is the one that the program prints."""
    checked_in = (DEPLOY / "kms-exporter.schema.json").read_text(encoding="utf-8")
    assert json.loads(checked_in) == json_schema()
    printed = subprocess.run([sys.executable, "-m", "exporter.config"], check=True, capture_output=True)
    assert printed.stdout.decode() == checked_in
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        ZONE + "probe: {rpc_bind: }",
        ZONE + "probe: {rpc_bind: 1}",
        "zones: [{name: a.b, expected: }]",
        "zones: [{name: a.b, expected: kms1}]",
        "zones: [{name: a.b, expected: [kms1, kms1]}]",
        "zones: [{name: a.b, expected: [10.1.2.3]}]",
        "zones: [{name: a.b, expected: ['10.1.2.3:1688']}]",
        "zones: [{name: a.b, expected: ['2001:db8::5']}]",
        "zones: [{name: a.b, expected: ['kms1:']}]",
        "clients: ",
        "clients: [{name: x}]",
        "clients: [{suffixes: [a.b]}]",
        "clients: [{name: x, suffixes: [a.b], labels: {}}]",
        "clients: [{name: '', suffixes: [a.b]}]",
        "clients: [{name: 'x ', suffixes: [a.b]}]",
        f"clients: [{{name: {'x' * 101}, suffixes: [a.b]}}]",
        "clients: [{name: x, suffixes: []}]",
        "clients: [{name: x, suffixes: [a.b, a.b]}]",
        "clients: [{name: x, suffixes: [a.b], dns_servers: }]",
        "clients: [{name: x, suffixes: [a.b], dns_servers: []}]",
    ],
)
def test_schema_refuses(text: str) -> None:
    """What an editor can see to be wrong is refused by the schema as by the program."""
    assert problems(text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), json_schema())


def test_sample() -> None:
    """The sample file is good, valid by the schema, and all defaults but for what is watched."""
    config = parse(SAMPLE)
    jsonschema.validate(yaml.safe_load(SAMPLE), json_schema())
    assert config.model_copy(update={"zones": (), "hosts": (), "clients": ()}) == default(["a.b"]).model_copy(
        update={"zones": ()}
    )
    assert config.zones[0].expected is None
    assert config.zones[1].expected == (
        Host(target="kms1.contoso.com", port=1688),
        Host(target="kms2.contoso.com", port=1689),
    )
    [client] = config.clients
    assert client.name == "branch-workgroup"
    assert client.suffixes == ("branch.contoso.com", "contoso.com")
    assert client.dns_servers == (DnsServer(address="10.9.0.53"),)
    assert config.hosts == (
        Host(target="kms-dr.contoso.com", port=1688),
        Host(target="10.1.2.3", port=1688),
        Host(target="2001:db8::5", port=1688),
    )


def test_sample_is_complete() -> None:
    """Every key of the schema is in the sample, and has a description or a section of its own."""
    schema = json_schema()
    sample = yaml.safe_load(SAMPLE)
    sections = {"Dns": [sample["dns"]], "Probe": [sample["probe"]], "Limits": [sample["limits"]]}
    sections |= {"Zone": sample["zones"], "Client": sample["clients"], "Web": [sample["web"]]}
    assert set(sample) == set(schema["properties"])
    assert set(sections) == set(schema["$defs"])
    for name, definition in schema["$defs"].items():
        assert set().union(*sections[name]) == set(definition["properties"])
        assert definition["description"]
        assert all(each["description"] for each in definition["properties"].values())


UNHURRIED = settings(deadline=None)  # a busy machine is no failure


def is_refused_or_valid(text: bytes) -> None:
    """Check that a file is refused for a reason, or good, and then good by the schema too."""
    try:
        config = parse(text)
    except ConfigError as error:
        reasons = str(error)
    else:
        assert config.zones or config.hosts or config.clients or config.web.probe_allow
        assert parse(dump(config).encode()) == config
        jsonschema.validate(yaml.safe_load(text.decode("utf-8-sig")), json_schema())
        return
    assert reasons.encode()


@UNHURRIED
@given(st.binary())
def test_any_bytes(text: bytes) -> None:
    """Any bytes are either a configuration or refused with a ConfigError."""
    is_refused_or_valid(text)


@UNHURRIED
@given(st.text(alphabet=" \n\t[]{}:,-?!&*<>|'\"%@#=~.0123456789abefnostuxyUTZ\\_é\x85\u2028", max_size=60))
def test_any_yaml(text: str) -> None:
    """Any jumble of YAML's own signs is either a configuration or refused with a ConfigError."""
    is_refused_or_valid(text.encode())


@UNHURRIED
@given(st.integers(0, len(SAMPLE)), st.integers(0, 30), st.binary(max_size=6))
def test_any_damage(start: int, length: int, insert: bytes) -> None:
    """The sample with any damage is either still a configuration or refused with a ConfigError."""
    is_refused_or_valid(SAMPLE[:start] + insert + SAMPLE[start + length :])


KEYS = st.sampled_from(
    [
        "interval",
        "timeout",
        "dns",
        "servers",
        "attempts",
        "probe",
        "rpc_bind",
        "networks",
        "ports",
        "limits",
        "zones",
        "name",
        "dns_servers",
        "expected",
        "labels",
        "hosts",
        "clients",
        "suffixes",
        "job",
        "x",
        "<<",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.text(max_size=8)
    | st.binary(max_size=4)
    | st.sampled_from(["system", "10.0.0.1", "[::1]:53", "a.b", "5s", "-5s", "ipv4", "10.0.0.0/8", "0"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | SCALARS, inner, max_size=4),
    max_leaves=12,
)
SECTIONS = {
    "dns": st.dictionaries(st.sampled_from(["servers", "attempts"]), VALUES),
    "probe": st.dictionaries(st.sampled_from(["rpc_bind", "networks", "ports", "address_families"]), VALUES),
    "zones": st.lists(
        st.dictionaries(st.sampled_from(["name", "dns_servers", "expected", "labels"]), VALUES), max_size=3
    ),
    "hosts": st.lists(SCALARS, max_size=3),
    "clients": st.lists(
        st.fixed_dictionaries({"name": SCALARS, "suffixes": VALUES}, optional={"dns_servers": VALUES}),
        max_size=3,
    ),
    "interval": SCALARS,
    "timeout": SCALARS,
}


@UNHURRIED
@given(VALUES | st.fixed_dictionaries({}, optional=SECTIONS))
def test_any_structure(data: object) -> None:
    """Any data that YAML can write is either a configuration or refused with a ConfigError."""
    is_refused_or_valid(yaml.safe_dump(data, allow_unicode=True).encode())


# --- What is running, as a file


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.001, "1ms"),
        (0.25, "250ms"),
        (1.1, "1s100ms"),
        (60.0, "1m"),
        (90.0, "1m30s"),
        (3600.0, "1h"),
        (86400.0, "1d"),
        (7 * 86400.0, "1w"),
        (8 * 86400.0, "8d"),
        (365 * 86400.0, "1y"),
        (366 * 86400.0, "366d"),
        (33019506.007, "382d4h5m6s7ms"),
    ],
)
def test_show_duration(seconds: float, text: str) -> None:
    """A duration is written as Prometheus writes it, and is read as the same again."""
    assert show_duration(seconds) == text
    assert parse_duration(text) == seconds


def test_dump() -> None:
    """What is running is shown as a file would say it, with every default, in the order of the sample."""
    shown = yaml.safe_load(dump(parse(SAMPLE)))
    assert list(shown) == list(yaml.safe_load(SAMPLE))
    assert shown["interval"] == "1m"
    assert shown["dns"] == {"servers": ["system"], "attempts": 2}
    assert shown["web"] == {"probe_allow": [], "probe_only": False}
    assert shown["zones"][0] == {"name": "contoso.com", "labels": {}}
    assert shown["zones"][1]["dns_servers"] == ["10.0.0.10", "10.0.0.11"]
    assert shown["hosts"] == ["kms-dr.contoso.com:1688", "10.1.2.3:1688", "[2001:db8::5]:1688"]


def unique(items: st.SearchStrategy[str], *, least: int = 0) -> st.SearchStrategy[list[str]]:
    """Draw a list in which nothing stands twice."""
    return st.lists(items, min_size=least, max_size=3, unique=True)


def lists_by_name(
    items: st.SearchStrategy[dict[str, Any]], *, least: int = 0
) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Draw a list in which no two items have the same name."""
    return st.lists(items, min_size=least, max_size=3, unique_by=lambda item: str(item["name"]))


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,4}\.(test|kms)", fullmatch=True)
ADDRESSES = st.ip_addresses(v=4, network="10.0.0.0/8").map(str)
PORTED = st.tuples(ADDRESSES, st.integers(1, 65535)).map(lambda pair: f"{pair[0]}:{pair[1]}")
V6 = st.sampled_from(["2001:db8::53", "[2001:db8::54]:5353", "fe80::1%eth0"])
SERVERS = unique(st.sampled_from(["system", "authoritative"]) | ADDRESSES | PORTED | V6, least=1)
TEXT = st.text(st.characters(codec="utf-8", categories=["L", "M", "N", "P", "S", "Zs"]), max_size=20)
EXPECTED = unique(NAMES | NAMES.map(lambda name: f"{name}:1689"))
NETWORKS = st.sampled_from(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"])
ZONES = lists_by_name(
    st.fixed_dictionaries(
        {"name": NAMES, "labels": st.fixed_dictionaries({"site": TEXT})},
        optional={"dns_servers": SERVERS, "expected": EXPECTED},
    ),
    least=1,
)
GOOD = st.fixed_dictionaries(
    {"zones": ZONES},
    optional={
        "interval": st.integers(11_000, 10**12).map(lambda number: f"{number}ms"),
        "timeout": st.integers(1, 10_000).map(lambda number: f"{number}ms"),
        "forget_after": st.integers(0, 9 * 10**12).map(lambda number: f"{number}ms"),
        "source_addresses": st.sampled_from([[], ["10.0.0.1"], ["2001:db8::1", "10.0.0.1"]]),
        "dns": st.fixed_dictionaries({}, optional={"servers": SERVERS, "attempts": st.integers(1, 10)}),
        "probe": st.fixed_dictionaries(
            {},
            optional={
                "rpc_bind": st.booleans(),
                "address_families": st.sampled_from([["ipv6"], ["ipv6", "ipv4"]]),
                "networks": unique(NETWORKS),
                "ports": st.sampled_from([[], [1688], [1, 65535]]),
                "nat64_prefixes": unique(st.sampled_from(["2001:db8:64::/96", "64:ff9b:1::/48"])),
            },
        ),
        "web": st.fixed_dictionaries(
            {}, optional={"probe_allow": unique(NAMES | NETWORKS), "probe_only": st.booleans()}
        ),
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "vanished_per_zone": st.integers(0, 10_000),
                "probes_per_check": st.integers(3, 10_000),
            },
        ),
        "hosts": unique(NAMES | st.sampled_from(["10.1.2.3", "[2001:db8::5]:1689", "kms"])),
        "clients": lists_by_name(
            st.fixed_dictionaries(
                {
                    "name": st.from_regex(r"[!-~]( ?[!-~]){0,9}", fullmatch=True),
                    "suffixes": unique(NAMES, least=1),
                },
                optional={"dns_servers": SERVERS},
            ),
        ),
    },
)


@settings(UNHURRIED, max_examples=40)
@given(GOOD)
def test_what_is_dumped_is_read_as_the_same(data: object) -> None:
    """Whatever configuration is running, its file is good, and says the same."""
    config = parse(yaml.safe_dump(data, allow_unicode=True).encode())
    assert parse(dump(config).encode()) == config
