"""What happened: logs, events, activity, measurements."""
