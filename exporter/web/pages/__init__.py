"""The pages for people, and the same as JSON.

Values first, pure, out of a report; then templates and documents that show them.

| module | holds |
| --- | --- |
| status | `/`, and the page of a zone, a static host, or a kind of client |
| api | `/api/v1/status` |
| cards | what is seen of each, in rows |
| overview, finding | all of them in order, and what is looked for among them |
| detail | what a card unfolds to |
| past, sparkline | the last checks |
"""
