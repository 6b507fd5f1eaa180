"""`solomon info`: what a running server serves."""

from __future__ import annotations

from service.cli.options import DEFAULT_URL, AsJson, Url


def info(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show what a running server serves: model, device, threshold, limits, collections.

    Any key will do; collections are listed for one with the scope search.
    """
    from service.cli.client import Client
    from service.cli.output import print_json, print_pairs

    with Client(url) as client:
        served = client.call("GET", "/info")
        listed = client.call_if_allowed("GET", "/collections")
    collections = None if listed is None else listed["collections"]
    if as_json:
        print_json(served | {"collections": collections})
        return
    model, limits = served["model"], served["limits"]
    held = ", ".join(f"{entry['name']} ({entry['count']})" for entry in collections or ())
    print_pairs(
        {
            "server": f"{url}, version {served['version']}",
            "model": f"{model['name']} on {model['base_model']}",
            "computes on": f"{model['device']} in {model['dtype']}",
            "vectors": f"{served['dimensions']} dimensions, pooled at {model['pooling']}",
            "augments from": f"P(/augment) {served['augment_threshold']:.3f}",
            "a call takes": f"{limits['max_items']} items, {limits['max_body_bytes'] / 2**20:.0f} MiB",
            "a text takes": f"{limits['max_prompt_tokens']} tokens",
            "collections": "not told to this key" if collections is None else held or "none",
        }
    )
