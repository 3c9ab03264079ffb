"""`report.html`: a manifest as one self-contained page, readable offline, on paper and on a phone."""

from .page import write_report

__all__ = ["write_report"]
