"""The report of an evaluation: one JSON document of every number, and a page of its own drawn from it."""

from training.report.contents import contents
from training.report.writing import write_report

__all__ = ["contents", "write_report"]
