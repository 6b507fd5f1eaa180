"""The live charts: what they read of /metrics, and what they show of it."""

import json

from tests.service.page.using import choose_route, replace_fetch, search, text

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
    assert "solid line" in legend
    assert "dashed line" in legend
    dashes = page.evaluate(
        "['embed', 'augment'].map((route) =>"
        " getComputedStyle(document.querySelector(`#latency-chart .line.${route}`)).strokeDasharray)"
    )
    assert dashes[0] == "none"
    assert dashes[1] != "none"
    label = page.evaluate("document.querySelector('#latency-chart').getAttribute('aria-label')")
    assert "Latency by route" in label
    assert text(page, "#saved").endswith("s")


def test_the_charts_have_names_before_there_is_anything_to_show(page):
    names = page.evaluate(
        "fetch('/').then((answer) => answer.text()).then((html) =>"
        "[...new DOMParser().parseFromString(html, 'text/html').querySelectorAll('[role=img]')]"
        ".map((one) => one.getAttribute('aria-label')))"
    )
    assert len(names) == 2
    assert all(names)


ANSWERS = """(path, options, fetch) => {
  (window.asked ??= []).push(path);
  const status = window.statuses[path];
  const problem = JSON.stringify({title: 'The API key may not make this call', detail: path});
  return status ? Promise.resolve(new Response(problem, {status})) : fetch(path, options);
}"""


def test_a_key_that_may_not_see_metrics_is_asked_once_and_another_key_again(page):
    page.evaluate("window.statuses = {'/metrics': 403}")
    replace_fetch(page, ANSWERS)
    metrics = "window.asked.filter((path) => path === '/metrics').length"
    ask = "import('/page/live.js').then(({pollSoon}) => pollSoon())"
    page.wait_for(f"{ask}.then(() => !document.querySelector('#live-fault').hidden)")
    search(page)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.evaluate(f"{ask}.then(() => true)")
    assert page.evaluate(metrics) == 1
    # Another key may see them, though not the collections.
    page.evaluate("window.statuses = {'/collections': 403}")
    page.evaluate("document.querySelector('#live').scrollIntoView({behavior: 'instant'})")
    page.evaluate("import('/page/api.js').then(({setKey}) => setKey(null))")
    page.wait_for(f"{metrics} > 1 && document.querySelector('#live-fault').hidden")


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
