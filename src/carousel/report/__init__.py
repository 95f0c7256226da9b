"""From a run folder to one HTML page that needs no network."""

from .page import ReportData, write_report
from .run import next_commands, resume_command, write_run_report

__all__ = ["ReportData", "next_commands", "resume_command", "write_report", "write_run_report"]
