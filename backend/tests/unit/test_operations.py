"""The dashboard and the alert rules ask for what is really counted."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from app.core import metrics

OPERATIONS = Path(__file__).resolve().parents[3] / "docs" / "operations"
DASHBOARD: dict[str, Any] = json.loads((OPERATIONS / "dashboard.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((OPERATIONS / "alerts.yml").read_text())
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]

COUNTED = {
    f"{family.name}{suffix}": set(collector._labelnames)
    for collector in vars(metrics).values()
    if hasattr(collector, "_labelnames")
    for family in collector.describe()
    for suffix in {
        "counter": ("_total",),
        "gauge": ("",),
        "histogram": ("_bucket", "_count", "_sum"),
    }[family.type]
}


def questions() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for rule in RULES:
        yield rule["alert"], rule["expr"]


QUESTIONS = list(questions())


def test_there_are_questions_and_metrics() -> None:
    assert len(QUESTIONS) > 20
    assert len(COUNTED) > 10
    assert {family.name for family in REGISTRY.collect()} >= {"oneslot_http_requests"}


@pytest.mark.parametrize(("title", "expression"), QUESTIONS)
def test_each_question_names_metrics_and_labels_that_exist(title: str, expression: str) -> None:
    named = set(re.findall(r"\boneslot_\w+", expression))
    assert named <= set(COUNTED), title
    assert expression.count("(") == expression.count(")")
    labels = {label for name in named for label in COUNTED[name]} | {"le", "job"}
    grouped = {
        label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")
    }
    filtered = set(re.findall(r"[{,]\s*(\w+)=~?\"", expression))
    assert grouped | filtered <= labels, title


def test_every_metric_is_shown() -> None:
    asked = " ".join(expression for _, expression in QUESTIONS)
    shown = {
        name.removesuffix("_count").removesuffix("_sum").removesuffix("_bucket") for name in COUNTED
    }
    assert [name for name in sorted(shown) if name not in asked] == []


def test_every_alert_is_explained() -> None:
    text = (OPERATIONS / "README.md").read_text()
    explained = set(re.findall(r"^\| (Oneslot\w+) \|", text, re.MULTILINE))
    assert explained == {rule["alert"] for rule in RULES}
