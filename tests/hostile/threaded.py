"""A library whose import starts a thread."""

import threading
import time

from .zoo import Hostile, NullDereference

threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
Innocent = Hostile
Crashing = NullDereference
