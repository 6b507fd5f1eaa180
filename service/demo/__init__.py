"""A small corpus that is ours to ship, so that a first search finds something right."""
