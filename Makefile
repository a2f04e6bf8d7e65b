# Two commands: `make run` and `make test`. Everything they need is put into .venv first.
