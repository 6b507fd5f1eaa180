"""Corpora on disk: folders of images, JSONL, CSV, Parquet and MMEB files, read document by document."""
