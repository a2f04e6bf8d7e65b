"""What all tests share."""

from hypothesis import HealthCheck, settings

from llamaswap.nursery import open_files

assert open_files.WANTED  # importing it raises the limit of open files, as in the program

# how long an example takes says something about the machine, which may be busy
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
