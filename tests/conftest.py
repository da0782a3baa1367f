"""What holds for all tests."""

import signal

# A process started in a shell's background ignores Ctrl-C and hands that down; the processes that tests interrupt must not.
signal.signal(signal.SIGINT, signal.default_int_handler)
