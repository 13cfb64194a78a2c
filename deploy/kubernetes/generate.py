"""Writes the manifests for the Prometheus operator: `make manifests`, or `python generate.py [DIRECTORY]`.

The rules and how to scrape are kept once, in ../prometheus/. Here they are only put into the resources that
the operator reads (https://prometheus-operator.dev/docs/api-reference/api/): the rules word for word, with
their comments. The same input gives the same bytes.
"""

import argparse
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

OPERATOR = Path(__file__).resolve().parent / "operator"
DEPLOY = OPERATOR.parent.parent
RULES = DEPLOY / "prometheus" / "kms-exporter.rules.yml"
CONFIG = DEPLOY / "prometheus" / "prometheus.yml"
JOB = "kms"
_GROUPS = "\ngroups:\n"
_CARRIED_OVER = {"job_name", "static_configs", "scrape_interval", "scrape_timeout", "metrics_path", "scheme"}

_HEAD = """\
# Made by `make manifests` from deploy/prometheus/{source}; change that file, not this one.
apiVersion: monitoring.coreos.com/v1
kind: {kind}
metadata:
  name: kms-exporter
  labels:
    app.kubernetes.io/name: kms-exporter
spec:
"""

_SERVICE_MONITOR = """\
  selector:
    matchLabels:
      app.kubernetes.io/name: kms-exporter
  endpoints:
    - port: http
{settings}\
      # The job is the vantage point that rules and dashboards show. Without this it would be the name of the
      # Service. An exporter in another network gets a ServiceMonitor of its own, with another name here.
      relabelings:
        - targetLabel: job
          replacement: {job}
"""


class UnsupportedError(Exception):
    """The source has something that would get lost on the way; the text says what."""


def manifests() -> dict[str, str]:
    """Give the text of each manifest, by the name of its file."""
    return {
        "prometheus-rule.yaml": prometheus_rule(RULES.read_text(encoding="utf-8")),
        "service-monitor.yaml": service_monitor(CONFIG.read_text(encoding="utf-8")),
    }


def prometheus_rule(rules: str) -> str:
    """Put a file of rules into a PrometheusRule."""
    _, separator, groups = rules.partition(_GROUPS)
    if not separator or set(yaml.safe_load(rules)) != {"groups"}:
        raise UnsupportedError(f"{RULES.name} is not a list of groups and nothing else")
    head = _HEAD.format(source=RULES.name, kind="PrometheusRule")
    return head + textwrap.indent(f"groups:\n{groups}", "  ")


def service_monitor(config: str) -> str:
    """Make a ServiceMonitor that scrapes as a Prometheus configuration does."""
    parsed = yaml.safe_load(config)
    job = next((job for job in parsed["scrape_configs"] if job["job_name"] == JOB), None)
    if job is None:
        raise UnsupportedError(f"{CONFIG.name} has no job {JOB}")
    if lost := sorted(set(job) - _CARRIED_OVER):
        raise UnsupportedError(f"{', '.join(lost)} of job {JOB} in {CONFIG.name} would get lost")
    settings = _settings(job, parsed.get("global", {}))
    lines = "".join(f"      {key}: {value}\n" for key, value in settings.items())
    head = _HEAD.format(source=CONFIG.name, kind="ServiceMonitor")
    return head + _SERVICE_MONITOR.format(settings=lines, job=JOB)


def _settings(job: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """Name the settings of a job as the operator does; what is set for all jobs holds for this one."""
    all_settings = {
        "path": job.get("metrics_path"),
        "scheme": job.get("scheme"),
        "interval": job.get("scrape_interval", default.get("scrape_interval")),
        "scrapeTimeout": job.get("scrape_timeout", default.get("scrape_timeout")),
    }
    return {key: value for key, value in all_settings.items() if value is not None}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the manifests."""
    parser = argparse.ArgumentParser(description="Write the manifests for the Prometheus operator.")
    parser.add_argument("directory", metavar="DIRECTORY", nargs="?", type=Path, default=OPERATOR)
    directory: Path = parser.parse_args(arguments).directory
    try:
        for name, text in manifests().items():
            (directory / name).write_text(text, encoding="utf-8")
    except UnsupportedError as error:
        sys.exit(f"{error}.")


if __name__ == "__main__":
    main()
