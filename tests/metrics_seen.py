"""What a scrape shows."""

from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """One answer of a scrape address, by name and labels."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: Any) -> float | None:
        """None: there is no such series."""
        return self.samples.get((f"pygeoapi_{name}", tuple(sorted(labels.items()))))

    def labels(self, name: str, label: str) -> set[str]:
        """The values that a label has."""
        samples = self.families[f"pygeoapi_{name}"].samples
        return {sample.labels[label] for sample in samples}


def scraped(port: int) -> Scrape:
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30, trust_env=False)
    answer.raise_for_status()
    return Scrape(answer.text)
