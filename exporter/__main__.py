"""`python -m exporter` is the same program as `kms-exporter`."""

from exporter.cli import main

if __name__ == "__main__":
    main()
