"""What all tests share."""

import signal

from hypothesis import HealthCheck, settings

from llamaswap.nursery import open_files

assert open_files.WANTED  # importing it raises the limit of open files, as in the program

# a shell's background job has SIGINT ignored, and so had everything that tests start and interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)

# how long an example takes says something about the machine, which may be busy
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
