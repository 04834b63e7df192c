"""How every program parses its command line, and how it refuses one.

A flag on the command line wins over --flagfile, wherever it stands. What the user got
wrong is said in one line, exit status 2.
"""

import sys

from absl import flags

FLAGS = flags.FLAGS


class UsageError(ValueError):
    """Flags that do not fit together; the message is one line."""


def parse_flags(argv, alternatives=(), positional=()):
    """Parses the command line into FLAGS.

    Args:
      argv: the program's name and its words.
      alternatives: pairs of flags of which one given on the command line replaces the
        other in a flag file.
      positional: names of the words that stand without a flag, in their order; each
        must be given.

    Returns:
      what absl's app.run hands to main: the program's name and the positional words.
    """
    files, rest = [], []
    words = iter(argv[1:])
    for word in words:
        if word in ("--flagfile", "-flagfile"):
            word = f"--flagfile={next(words, '')}"
        (files if word.lstrip("-").startswith("flagfile=") else rest).append(word)
    try:
        leftover = FLAGS([argv[0], *files, *rest])[1:]
        given = {word.lstrip("-").partition("=")[0] for word in rest}
        for pair in alternatives:
            for name, replaced in (pair, pair[::-1]):
                if name in given and replaced not in given:
                    FLAGS[replaced].unparse()
        if len(leftover) > len(positional):
            raise UsageError(
                f"{leftover[len(positional)]!r} is not a flag; flags are written "
                "--name=value, in flag files too"
            )
        if len(leftover) < len(positional):
            raise UsageError(
                f"{' and '.join(positional[len(leftover) :])} must be given"
            )
    except (flags.Error, UsageError) as error:
        refuse(argv[0], str(error).splitlines()[0])
    return [argv[0], *leftover]


def refuse(program, message):
    """Ends the program with one line on standard error and exit status 2."""
    print(f"{program.rpartition('/')[2]}: {message}", file=sys.stderr)
    sys.exit(2)
