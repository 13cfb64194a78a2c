"""Print the JSON Schema of the configuration file."""

import json
import sys

from exporter.config import json_schema

if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
