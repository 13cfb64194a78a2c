"""Every target by name; each has inputs of its own in corpus/."""

from collections.abc import Mapping

from tests.fuzz.configurations import CONFIG, WEB_CONFIG
from tests.fuzz.dns_answers import DNS
from tests.fuzz.queries import QUERY
from tests.fuzz.requests import REQUEST
from tests.fuzz.rpc_answers import RPC
from tests.fuzz.target import Target
from tests.fuzz.texts import NAMES, RESOLV_CONF

TARGETS: Mapping[str, Target] = {
    "dns": DNS,
    "rpc": RPC,
    "config": CONFIG,
    "web_config": WEB_CONFIG,
    "query": QUERY,
    "request": REQUEST,
    "resolv_conf": RESOLV_CONF,
    "names": NAMES,
}
