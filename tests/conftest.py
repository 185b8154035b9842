"""What holds for all tests."""

import signal

from hypothesis import settings

# The same examples in every run: a test that fails fails for everyone, and what is covered does not depend on luck. No
# deadline, since a busy machine is no failure of the code.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

# A shell starts what it runs in the background with Ctrl-C ignored, and so do all its children: then the tests of what
# Ctrl-C does would wait for it for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
