"""A library after whose import a process deadlocks when it forks."""

import os
import time

from .zoo import Hostile, NullDereference

os.register_at_fork(before=lambda: time.sleep(1000))
Innocent = Hostile
Crashing = NullDereference
