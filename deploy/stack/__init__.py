"""The whole picture on one machine, without containers: `make stack`, or `python -m deploy.stack`.

The exporter, Prometheus, Alertmanager and a receiver of its notifications, with the very configuration files
that lie beside this folder.

| module | holds |
| --- | --- |
| __main__ | arguments, what is printed, exit statuses |
| parts | which programs, with which flags, on which ports |
| supervisor | starts them, waits, stops them |
| receiver | the receiver; a program of its own that needs nothing else |
"""
