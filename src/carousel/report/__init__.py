"""From a run folder, or from what the doctor saw, to one HTML page that needs no network."""

from .doctor import write_doctor_report
from .page import ReportData, write_report
from .run import next_commands, resume_command, write_run_report
from .tuning import write_tuning_report

__all__ = [
    "ReportData",
    "next_commands",
    "resume_command",
    "write_doctor_report",
    "write_report",
    "write_run_report",
    "write_tuning_report",
]
