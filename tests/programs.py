"""The programs as a user runs them, and what they leave behind."""

import json
import os
import subprocess
import sys

import tensorflow as tf

# Runs a program's main on one command line after another, which saves its start.
_EVERY_LINE = """
import contextlib, io, json, sys
import keras
program, lines = sys.argv[1:]
module = __import__(program)
from command_line.parsing import parse_flags
said = []
for words in json.loads(lines):
    for name in module.FLAGS:
        module.FLAGS[name].unparse()
    errors, status = io.StringIO(), 0
    with contextlib.redirect_stderr(errors):
        try:
            parse_flags([program + ".py", *words])
            module.main(None)
        except SystemExit as end:
            status = end.code
    keras.backend.clear_session()
    said.append((status, errors.getvalue()))
print(json.dumps(said))
"""

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# A run of train.py of seconds, without --validate_every, --checkpoint_every, --steps.
SMALL_RUN = (
    "--dataset=synthetic_faces",
    "--synthetic_count=40",
    "--image_size=32",
    "--width=0.05",
    "--batch_size=4",
    "--mask=random_box",
    "--validation_count=4",
    "--log_every=1",
)


def run(program, *flags, environment=None):
    """Runs a program to its end; returns (exit status, standard error)."""
    process = subprocess.run(
        [sys.executable, program, *flags],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return process.returncode, process.stderr


def refusal(program, *flags):
    """The one line with which a program refuses its flags."""
    status, errors = run(program, *flags)
    lines = [line for line in errors.splitlines() if line.startswith(f"{program}: ")]
    assert status == 2, errors
    assert len(lines) == 1, errors
    assert "Traceback" not in errors
    return lines[0]


def run_all(program, command_lines):
    """Runs a program's main on one command line after another.

    Args:
      program: its name, without .py.
      command_lines: list of lists of flags.

    Returns:
      list of (exit status, standard error).
    """
    process = subprocess.run(
        [sys.executable, "-c", _EVERY_LINE, program, json.dumps(command_lines)],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def refusals(program, command_lines):
    """The lines with which a program refuses one command line after another.

    Args: as of `run_all`.
    """
    said = run_all(program, command_lines)
    assert all(status == 2 for status, _ in said), said
    lines = [errors.strip().splitlines()[-1] for _, errors in said]
    assert all(line.startswith(f"{program}.py: ") for line in lines), lines
    return lines


def entries(run_dir):
    """What a run has logged, one dict per step."""
    with open(os.path.join(run_dir, "metrics.jsonl")) as file:
        return [json.loads(line) for line in file]


def without_speed(log):
    """Entries without what differs from run to run."""
    return [
        {key: value for key, value in entry.items() if key != "images_per_second"}
        for entry in log
    ]


def weights(run_dir, step):
    """Everything that the checkpoint of a step holds, name -> array."""
    reader = tf.train.load_checkpoint(
        os.path.join(run_dir, "checkpoints", f"step-{step}")
    )
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith(("model", "weights", "step"))
    }
