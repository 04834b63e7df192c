"""What TensorFlow says went wrong, for users. No TensorFlow needed."""


def in_one_line(message):
    """What an error message of TensorFlow says to a user, in one line.

    The line that says it stands before the first "[[{{node ...}}]]"; an assertion's
    parts stand in brackets, and what it compared follows.
    """
    said, node, _ = str(message).partition("[[{{node")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return "no reason given"
    line = lines[-1] if node else lines[0]
    _, assertion, parts = line.partition("assertion failed: [")
    if assertion:
        parts = parts.partition(" [Condition ")[0].removesuffix("]")
        line = parts.replace("] [", " ")
    return line
