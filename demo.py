"""A web page to complete photos on: paint the hole, compare methods, download.

    python demo.py
    python demo.py --weights=runs/quickstart,runs/giica --methods=telea
    python demo.py --weights=runs/dcgan --methods=telea,siidgm --port=8000

Open the address that it prints. A photo is opened or a sample taken, its hole brushed or
boxed; the page shows the completions of all methods chosen side by side with their
times, where attention borrowed from, and a search's iterations as they run. A file
downloaded there holds the very pixels that inpaint.py writes for the same mask, which
can be downloaded too, with --blend where the page blends.

Needs the extra `demo`. Only this machine can open the page unless --server_name says
otherwise; visitors wait for each other in a queue. Nothing of theirs is written to disk,
and the page asks no other server for anything.

Exit status: 2 wrong command line, 130 interrupted, 143 terminated.
"""

import os
import signal
import sys

# Before TensorFlow and Gradio are imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

from absl import app, flags, logging

from baselines.methods import SEARCHES
from command_line import contenders, photo_methods, photo_sources, weights_along
from command_line.memory import reuse_large_blocks
from command_line.parsing import UsageError, parse_flags, refuse
from inpainting_tf.checkpoints import TrainingStopped
from inpainting_tf.progress import say
from web_page import temporary

FLAGS = flags.FLAGS

flags.DEFINE_list(
    "methods",
    [],
    "Methods to choose from, as of inpaint.py. Default: the classical fills, all of "
    "--weights, and the searches where a dcgan is among them; what needs no training "
    "where neither is named.",
)
flags.DEFINE_list(
    "weights",
    [],
    "Trained weights, as of inpaint.py, each [label=]source: a run folder, a "
    "checkpoint, a SavedModel, a name. Default: what comes along and --methods takes.",
)
flags.DEFINE_integer(
    "working_size",
    None,
    "Side in pixels of the windows that networks complete. Default: what each was "
    "trained at.",
    lower_bound=16,
)
flags.DEFINE_string(
    "server_name",
    "127.0.0.1",
    "Address to be reached at. 127.0.0.1 is this machine alone; 0.0.0.0 everybody who "
    "can reach it: there is no password.",
)
flags.DEFINE_integer("port", 7860, "Port.", lower_bound=1, upper_bound=65535)
flags.DEFINE_float("max_megabytes", 40.0, "Largest file of a photo.", lower_bound=0.001)
flags.DEFINE_float(
    "max_megapixels", 50.0, "Largest photo.", lower_bound=0.001, upper_bound=100.0
)
flags.DEFINE_integer(
    "at_once", 1, "Completions at once; others wait in a queue.", lower_bound=1
)


def open_methods():
    """The methods of the command line, or all that need no training."""
    methods, weights = FLAGS.methods, FLAGS.weights
    if not methods and not weights:
        # These recipes take 100 iterations where the paper's constants take 1,500.
        recipes = os.path.join(os.path.dirname(os.path.abspath(__file__)), "flags")
        methods = list(contenders.CLASSICAL)
        methods += [f"{name}={recipes}/{name}_celeba.cfg" for name in SEARCHES]
        weights = [
            name
            for name in weights_along.names()
            if photo_sources.method_of(name) != "dcgan"
        ]
    elif not methods:
        methods = list(contenders.CLASSICAL)
        if "dcgan" in map(photo_sources.method_of, weights):
            methods += SEARCHES
    return photo_methods.open_all(methods, weights, FLAGS.working_size)


def run():
    """Serves the page until it is interrupted."""
    with temporary.private_folder():
        try:
            from web_page import events, kept, server
        except ImportError as error:
            raise UsageError(
                f'{error.name} is not installed; pip install -e ".[demo]"'
            ) from None
        try:
            listening = server.listen(FLAGS.server_name, FLAGS.port)
        except OSError as error:
            raise UsageError(
                f"--server_name={FLAGS.server_name} --port={FLAGS.port}: "
                f"{error.strerror}; name another"
            ) from None
        with listening:
            methods = open_methods()
            for method in methods:
                say(f"{method.label}: {method.description}")
            finished = kept.KeptFiles()
            max_pixels = int(FLAGS.max_megapixels * 1e6)
            answers = events.Events(methods, kept.KeptFiles(), finished, max_pixels)
            answers.warm_up()
            max_bytes = int(FLAGS.max_megabytes * 1e6)
            page = server.build(
                answers,
                finished,
                max_bytes=max_bytes,
                at_once=FLAGS.at_once,
                hosts=server.hosts_of(FLAGS.server_name),
            )
            address = server.address(FLAGS.server_name, FLAGS.port)
            say(f"open {address} (Ctrl-C ends it)")
            server.serve(page, listening)


def end(number, _):
    """Ends the process by an exception, so that its folder is removed."""
    sys.exit(128 + number)


def main(_):
    reuse_large_blocks()
    logging.set_verbosity(logging.WARNING)
    signal.signal(signal.SIGTERM, end)
    try:
        run()
    except (ValueError, TrainingStopped) as error:
        refuse("demo.py", str(error).strip().splitlines()[0])
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
