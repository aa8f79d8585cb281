"""The rules of the alarms, as Prometheus reads them."""

import yaml

from tests.architecture.sources import read_text

RULES = [
    rule for group in yaml.safe_load(read_text("deploy/alerts.yaml"))["groups"] for rule in group["rules"]
]
