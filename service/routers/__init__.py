"""The calls. A handler translates a body into a domain call and its answer into a body, nothing more."""
