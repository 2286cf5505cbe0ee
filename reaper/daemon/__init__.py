"""The long-running scheduler: jobs, reload, signals, leadership."""
