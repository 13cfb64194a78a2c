"""Prometheus exporter that watches Windows KMS hosts from the network, as their clients see them."""

__version__ = "0.1.0"
