"""The live charts: what they read of /metrics, and what they show of it."""

import json

from tests.service.page.using import choose_route, search, text

METRICS = r"""# HELP solomon_embed_latency_seconds From taking an item to its vector.
# TYPE solomon_embed_latency_seconds histogram
solomon_embed_latency_seconds_bucket{decision="auto",input_type="query",le="+Inf",route="embed"} 3.0
solomon_embed_latency_seconds_count{decision="auto",input_type="query",route="embed"} 3.0
solomon_embed_latency_seconds_sum{decision="auto",input_type="query",route="embed"} 0.3
solomon_embed_latency_seconds_count{decision="forced",input_type="query",route="embed"} 1.0
solomon_embed_latency_seconds_sum{decision="forced",input_type="query",route="embed"} 0.1
solomon_embed_latency_seconds_count{decision="forced",input_type="document",route="embed"} 90.0
solomon_embed_latency_seconds_sum{decision="forced",input_type="document",route="embed"} 9e1
solomon_augment_seconds_saved_total 1.5e-01
other{label="a \"quoted\", {braced} word"} NaN
"""


def test_the_totals_are_those_of_queries(page):
    totals = page.evaluate(
        "import('/page/metrics.js').then(({parseMetrics, totals}) =>"
        f" totals(parseMetrics({json.dumps(METRICS)})))"
    )
    assert totals["embed"] == {"count": 4, "seconds": 0.4}
    assert totals["augment"] == {"count": 0, "seconds": 0}
    assert totals["saved"] == 0.15


def test_labels_are_read_whole(page):
    labels = page.evaluate(
        "import('/page/metrics.js').then(({parseMetrics}) =>"
        f" parseMetrics({json.dumps(METRICS)}).at(-1).labels)"
    )
    assert labels == {"label": r"a \"quoted\", {braced} word"}


def test_a_server_that_was_started_anew_gives_no_mean(page):
    means = page.evaluate(
        "import('/page/metrics.js').then(({meanBetween}) => ["
        "meanBetween({count: 1, seconds: 1}, {count: 3, seconds: 1.5}),"
        "meanBetween({count: 9, seconds: 9}, {count: 2, seconds: 0.1}),"
        "meanBetween({count: 2, seconds: 2}, {count: 2, seconds: 2})])"
    )
    assert means == [250, None, None]


def test_scales_end_at_round_numbers(page):
    rounded = page.evaluate(
        "import('/page/charts.js').then(({roundUp}) => [0.1, 3, 10, 11, 49, 270].map(roundUp))"
    )
    assert rounded == [0.1, 5, 10, 20, 50, 500]


def test_searches_show_in_the_charts(page):
    page.wait_for("document.querySelectorAll('#latency-legend li').length === 2")
    for route in ("augment", "embed"):
        choose_route(page, route)
        search(page)
    page.evaluate("document.querySelector('#live').scrollIntoView()")
    page.wait_for("document.querySelectorAll('#latency-chart circle.embed').length > 0")
    page.wait_for("document.querySelectorAll('#latency-chart circle.augment').length > 0")
    legend = text(page, "#latency-legend")
    assert legend.count("mean of") == 2
    label = page.evaluate("document.querySelector('#latency-chart').getAttribute('aria-label')")
    assert "Latency by route" in label
    assert text(page, "#saved").endswith("s")


def test_nothing_is_asked_while_the_page_is_hidden(page):
    page.evaluate(
        "Object.defineProperty(document, 'visibilityState', {value: 'hidden'});"
        "document.dispatchEvent(new Event('visibilitychange'));"
    )
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 500))")  # what was under way may end
    page.addresses.clear()
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 3500))")
    assert not [address for address in page.addresses if address.endswith("/metrics")]
    page.addresses.append(page.evaluate("location.href"))
