"""Reads problem documents."""


def problem(response, status, kind):
    """The body of a problem document, checked for its status and kind."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["type"], body["status"]) == (f"/problems/{kind}", status)
    assert body["title"]
    assert body["detail"]
    return body


def fields(body):
    return [error["field"] for error in body["errors"]]
