"""Vectors to neighbours: collections, the durable document log and its FAISS view."""
