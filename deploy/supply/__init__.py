"""What the project is made of, and whether that is known to be bad: `make sbom` and `make audit`.

Both run in an environment of their own, .venv/supply, because their tools are no part of what they look at.

| module | holds |
| --- | --- |
| locks | reads the lock files that `make lock` writes |
| sbom | the software bill of materials, in CycloneDX |
| audit | known vulnerabilities of everything that the locks pin |
"""
