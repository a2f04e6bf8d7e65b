"""Who may run, who waits, what is stopped for whom. Pure: no I/O, no clock, no trio."""
