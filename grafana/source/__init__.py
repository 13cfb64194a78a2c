"""The Grafana dashboards, as code: `python -m grafana.source` writes the JSON files of the folder above.

A dashboard is a function without arguments that returns an object of Grafana's own SDK, by the schema of
Grafana 11.6 (https://grafana.github.io/grafana-foundation-sdk/). Nothing here asks a Grafana or a Prometheus.
The words that are shown come from the exporter's own vocabularies, so a new verdict cannot be forgotten here.

| module | holds |
| --- | --- |
| build | which dashboards there are, and their text |
| overview, zone, exporter | the dashboards |
| counts | the numbers at the top of the overview |
| changes, hosts | parts of the dashboard of a zone |
| shared | what more than one of them has |
| frame | what they have in common: settings, links, rows of panels |
| variables | the choices at the top of a dashboard |
| panels, tables | kinds of panels |
| words | the words for states, and their numbers by severity |
| states, selections, queries | PromQL |
"""
