"""The mini data set in MMEB's format, built from packages and from a folder of photos and captions."""
