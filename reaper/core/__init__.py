"""The pure core: what a registry holds, what the policies say, what follows.

Nothing here does I/O, reads a clock, logs, or awaits.
"""
