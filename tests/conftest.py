"""What holds for all tests."""

from hypothesis import settings

# The same examples in every run: a test that fails fails for everyone, and what is covered does not depend on luck. No
# deadline, since a busy machine is no failure of the code.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
