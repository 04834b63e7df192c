"""Packs a run's weights for others: what completing takes, the flags, and a card.

    python -m command_line.pack_weights --run_dir=runs/celeba --name=celeba128 \\
        --data="CelebA, 4,346 images of the train partition by identity, with flips" \\
        --terms="CelebA: non-commercial research" \\
        --results=results/celeba128_center/results.json

writes `<output>/<name>/`: the flags that rebuild the network, a checkpoint of the weights
that completions depend on, what the run's validations measured (metrics.jsonl), and the
model card README.md. Weights below `inpainting_tf/weights` come along with the package and
are found by name.
"""

import json
import os
import re
import subprocess

from absl import app, flags

import inpainting_tf
from command_line import trained
from command_line.parsing import UsageError, parse_flags, refuse
from command_line.weights_along import TERMS, WEIGHTS_DIR
from inpainting_tf import run_folder
from inpainting_tf.checkpoints import Checkpoints, TrainingStopped

FLAGS = flags.FLAGS
flags.DEFINE_string("run_dir", None, "Folder of the run.", required=True)
flags.DEFINE_string(
    "checkpoint", "best", "best, newest, or a step; best is newest where there is none."
)
flags.DEFINE_string("name", None, "Name of the weights.", required=True)
flags.DEFINE_string("data", None, "What they were trained on.", required=True)
flags.DEFINE_string("terms", None, "Terms of use of weights and data.", required=True)
flags.DEFINE_string(
    "note", "", "Another sentence for the card, such as the time taken."
)
flags.DEFINE_list("results", [], "results.json files of evaluate.py that measured it.")
flags.DEFINE_bool(
    "half",
    False,
    "Round the weights to float16, half as large. --results should measure them so: "
    "pack, evaluate what was packed, pack again.",
)
flags.DEFINE_string("output", WEIGHTS_DIR, "Folder in which the named one is written.")

# Flags that name places, which others do not have; lists may lie in the repository.
PLACES = ("run_dir", "data_dir", "mask_dir", "initial_weights")
METRICS = ("psnr", "ssim", "l1")
VALIDATION = "validation/"


def run():
    checkpoint = FLAGS.checkpoint
    if checkpoint == "best":
        checkpoint = trained.best_or_newest(FLAGS.run_dir)
    target = os.path.join(FLAGS.output, FLAGS.name)
    refuse_to_replace_other(target)
    model, recorded, step = trained.load(FLAGS.run_dir, checkpoint)
    validations = read_validations()
    left_out = {
        name for name, text in recorded.items() if name in PLACES or os.path.isabs(text)
    }
    recorded = {n: text for n, text in recorded.items() if n not in left_out}
    tables = [table for path in FLAGS.results for table in measured(path)]
    try:
        with run_folder.written_whole(target, replace=True) as folder:
            run_folder.write_flags(folder, recorded)
            checkpoints = os.path.join(folder, "checkpoints")
            prefix = Checkpoints(model, checkpoints).save_completing_weights(
                checkpoints, step, FLAGS.half
            )
            size = os.path.getsize(prefix + ".data-00000-of-00001")
            if validations:
                run_folder.write_text(
                    os.path.join(folder, "metrics.jsonl"),
                    [json.dumps(entry) + "\n" for entry in validations],
                )
            text = card(
                recorded,
                left_out | {"run_dir"},
                step,
                size,
                next((entry for entry in validations if entry["step"] == step), {}),
                tables,
            )
            run_folder.write_text(os.path.join(folder, "README.md"), [text])
    except run_folder.RunFolderError as error:
        raise UsageError(f"--output={FLAGS.output}: {error}") from None
    print(f"{target}: {FLAGS.name}, step {step}, {size / 1e6:.1f} MB")


def refuse_to_replace_other(target):
    """Raises UsageError where the folder is not free and holds no packed weights."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", FLAGS.name):
        raise UsageError(f"--name={FLAGS.name}: must be letters, digits and ._- only")
    held = set(os.listdir(target)) if os.path.isdir(target) else set()
    ours = {"flags.cfg", "checkpoints", "README.md"}
    if os.path.lexists(target) and held - {"metrics.jsonl"} != ours:
        raise UsageError(
            f"{target} holds something else; take another --name or --output"
        )


def measured(path):
    """Of a results.json: (protocol, hash, label, count, estimates) for every method."""
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
        counts = {method["label"]: method["count"] for method in results["methods"]}
        for row in results["table"].values():
            for name in METRICS:
                cell(row.get(name))  # Refused here if damaged.
        return [
            (results["protocol"], results["protocol_hash"], label, counts[label], row)
            for label, row in results["table"].items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"--results={path}: no results.json of evaluate.py ({error})"
        ) from None


def read_validations():
    """What the run's validations measured: a dict of step and measures for each."""
    found = {}
    for entry in run_folder.logged_entries(FLAGS.run_dir):
        measures = {n: v for n, v in entry.items() if n.startswith(VALIDATION)}
        if measures:
            step = entry["step"]
            found[step] = {"step": step, **found.get(step, {}), **measures}
    return list(found.values())


def card(recorded, left_out, step, size, validation, tables):
    """The model card, Markdown; `left_out` names the flags that a user must give."""
    side = recorded.get("image_size", "any size")
    lines = [
        f"# {found_as()}",
        "",
        f"`{recorded['method']}` at width {recorded.get('width', 1)}, {side}x{side}, step {step}, "
        f"{size / 1e6:.1f} MB ({'float16' if FLAGS.half else 'float32'}, only what "
        "completing takes).",
        "",
        f"- Trained on: {FLAGS.data}.",
        f"{TERMS}{FLAGS.terms}.",
        f"- Packed by the code of commit {commit()}, trained by",
        "",
        "```",
        f"python train.py --flagfile={flagfile()} "
        + " ".join(f"--{name}=..." for name in sorted(left_out)),
        "```",
        "",
    ]
    if FLAGS.note:
        lines += [FLAGS.note, ""]
    if validation:
        rounded = ", before they were rounded to float16" if FLAGS.half else ""
        lines += [
            f"Validation at that step{rounded}, up to "
            f"{recorded.get('validation_count')} images, "
            f"holes by `{recorded.get('validation_mask') or recorded.get('mask')}`: "
            + ", ".join(
                f"{name.removeprefix(VALIDATION)} {value:.4g}"
                for name, value in validation.items()
                if name.startswith(VALIDATION)
            )
            + ".",
            "",
        ]
    if tables:
        lines += [
            "| protocol | images | method | " + " | ".join(METRICS) + " |",
            "|---|---|---|" + "---|" * len(METRICS),
        ]
        lines += [
            f"| {protocol} `{digest}` | {count} | {label} | "
            + " | ".join(cell(row.get(name)) for name in METRICS)
            + " |"
            for protocol, digest, label, count, row in tables
        ]
        lines += ["", "Intervals hold 95 %. How it is measured: docs/metrics.md.", ""]
    does = "It completes faces"
    if recorded["method"] == "dcgan":
        does = "It imagines faces, with which the searches complete those"
    lines += [
        f"{does} that look like those it was trained on: upright, frontal or slightly "
        "turned, the face filling the picture. What it paints is invented: it says "
        "nothing about what was there, and identifies nobody.",
    ]
    return "\n".join(lines) + "\n"


def found_as():
    """The name that finds the weights, where they come along."""
    target = os.path.join(FLAGS.output, FLAGS.name)
    relative = os.path.relpath(target, WEIGHTS_DIR)
    return FLAGS.name if relative.startswith(os.pardir) else relative


def flagfile():
    """The packed flags, seen from where the package's programs are."""
    path = os.path.join(FLAGS.output, FLAGS.name, "flags.cfg")
    root = os.path.dirname(os.path.dirname(inpainting_tf.__file__))
    relative = os.path.relpath(path, root)
    return path if relative.startswith(os.pardir) else relative


def cell(estimate):
    if estimate is None:
        return ""
    text = f"{estimate['mean']:#.4g}"
    if estimate["low"] is not None:
        text += f" [{estimate['low']:#.4g}, {estimate['high']:#.4g}]"
    return text


def commit():
    """The commit of the code that packs; "unknown" outside a repository."""
    folder = os.path.dirname(inpainting_tf.__file__)
    words = ["git", "-C", folder, "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(words, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def main(_):
    try:
        run()
    except (ValueError, TrainingStopped) as error:
        refuse("pack_weights", str(error).strip().splitlines()[0])
    except OSError as error:
        refuse("pack_weights", f"{error.filename}: {error.strerror}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
