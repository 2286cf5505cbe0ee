"""The command line: parse, call, render, exit code. Everything heavy is imported where it is used."""
