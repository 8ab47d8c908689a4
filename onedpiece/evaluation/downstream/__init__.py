"""Do other networks still work on reconstructions? One file a task, and a driver that tabulates."""

from onedpiece.evaluation.downstream.base import Example, Result, Tally, Task
from onedpiece.evaluation.downstream.run import DownstreamConfig, run
from onedpiece.evaluation.downstream.tasks import TASKS, load_task

__all__ = ["TASKS", "DownstreamConfig", "Example", "Result", "Tally", "Task", "load_task", "run"]
