"""The laboratory: the real supervisor and the stand-in as processes, and typed calls to both.

Used by demo, benchmarks and tests.
"""

from scripts.lab.processes import LabError, Process, eventually, unless_stopped
from scripts.lab.standin import StandIn
from scripts.lab.supervisor import Supervisor, pair
from scripts.lab.traffic import Traffic

__all__ = [
    "LabError",
    "Process",
    "StandIn",
    "Supervisor",
    "Traffic",
    "eventually",
    "pair",
    "unless_stopped",
]
