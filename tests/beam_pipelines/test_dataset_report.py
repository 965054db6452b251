from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from typing import Any

from beam_pipelines.report import render_report


def _page(workshop: Any, **overrides: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    workshop.write(
        "events.csv", "user,item,time\n" + "".join(f"u{t % 7},i{t % 3},{t * 90000}\n" for t in range(100))
    )
    dataset = workshop.build(protocol="by_time", top="report = true")
    stats = json.loads((dataset.root / "stats.json").read_text())
    return (dataset.root / "report.html").read_text(), dataset.manifest, stats


def test_the_page_shows_the_datasets_numbers_and_loads_nothing(workshop: Any) -> None:
    page, manifest, stats = _page(workshop)
    assert page.encode() == render_report(manifest, stats)
    for text in (
        "Long tail",
        "Events over time",
        "History lengths",
        "Missing values",
        "Rejected and left out",
    ):
        assert f"<b>{text}.</b>" in page
    assert "<td>train</td><td>7</td><td>80</td><td>80</td>" in page
    # No address but the names of XML dialects, which nobody fetches.
    addresses = [part.split('"')[0] for part in page.replace("'", '"').split('"http')[1:]]
    assert {a.split("/")[2] for a in addresses} <= {"www.w3.org", "purl.org", "creativecommons.org"}
    for attribute in ("src=", "<script", "<link"):
        assert attribute not in page


def test_every_plot_is_wellformed_and_drawn_from_the_statistics(workshop: Any) -> None:
    page, manifest, stats = _page(workshop)
    plots = ["<svg" + part.split("</svg>")[0] + "</svg>" for part in page.split("<svg")[1:]]
    assert len(plots) == 6
    for plot in plots:
        ElementTree.fromstring(plot)  # noqa: S314 - our own page
    assert " 80<" in plots[0]
    stats["rejects"]["by_reason"] = {"events/<planted>": 12345}
    assert "&lt;planted&gt;" in (changed := render_report(manifest, stats).decode())
    assert "12,345" in changed


def test_a_dataset_without_times_has_no_time_plot(workshop: Any) -> None:
    _, manifest, stats = _page(workshop)
    for split in stats["splits"].values():
        split.pop("targets_by_day")
    assert "Events over time" not in render_report(manifest, stats).decode()
