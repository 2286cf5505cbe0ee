"""How reaper shows what it is doing: logs, progress bars; metrics come with the daemon."""
