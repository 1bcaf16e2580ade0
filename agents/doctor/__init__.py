"""What a site needs, looked at one by one: what holds, what does not, and what to do about it. Nothing is changed."""

from agents.doctor.examination import examine
from agents.doctor.findings import Finding, Level

__all__ = ["Finding", "Level", "examine"]
