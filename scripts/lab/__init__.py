"""The laboratory: the real supervisor and the stand-in as processes, and typed calls to both. Used by demo, benchmarks and tests."""

from scripts.lab.processes import LabError, Process, eventually, unless_stopped
from scripts.lab.standin import StandIn
from scripts.lab.supervisor import Supervisor, pair

__all__ = ["LabError", "Process", "StandIn", "Supervisor", "eventually", "pair", "unless_stopped"]
