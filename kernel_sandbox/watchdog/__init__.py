"""The watchdog: a process of its own that holds a sandbox, as a whole, to its limits.

Of its own, since in the host's it would wait for the interpreter lock before each look into
`/proc`, and what a sandbox can fill in a second is measured in gigabytes.
"""
