"""The request and response bodies of every call."""
