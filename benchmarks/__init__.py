"""What is timed, against what, and how to run it again; see each program."""
