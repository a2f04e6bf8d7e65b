"""Sub-commands: one file each, with `run(arguments) -> exit code`, named in `table`."""
