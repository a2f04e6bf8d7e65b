"""What all tests share."""

from llamaswap.nursery import open_files

assert open_files.WANTED  # importing it raises the limit of open files, as in the program
