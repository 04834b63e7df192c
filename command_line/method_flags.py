"""Flags for the parameters of methods, and methods from flags.

A parameter is a keyword argument of a method's class. Its flag has the same name and
no default of its own: what is not given is left to the class. A program defines the
flags of the methods it offers.
"""

import inspect

from absl import flags

from command_line.parsing import UsageError

# Arguments that every program has flags for by itself, or fills by itself.
_OWN = ("image_size", "width", "seed", "gan", "kwargs")

_NOT_NEGATIVE = {"lower_bound": 0}
_POSITIVE = {"lower_bound": 1}
_DECAY = {"lower_bound": 0, "upper_bound": 0.999999}


def _choice(*values):
    return flags.DEFINE_enum, {"enum_values": values}


_INTEGER, _FLOAT, _BOOL = flags.DEFINE_integer, flags.DEFINE_float, flags.DEFINE_bool

# name -> (how it is defined, bounds, help).
_FLAGS = {
    # Networks.
    "attention_branch": (_BOOL, {}, "False leaves it out (ablation)."),
    "attention_rate": (
        _INTEGER,
        _POSITIVE,
        "Downscaling inside the contextual attention.",
    ),
    "attention_propagation": (
        _BOOL,
        {},
        "False leaves the fuse step out (ablation).",
    ),
    "attention_memory_mb": (
        _FLOAT,
        {"lower_bound": 1e-6},
        (
            "Memory for the attention's scores; what needs more goes row by row, with "
            "the same results."
        ),
    ),
    "local_discriminator": (_BOOL, {}, "False leaves it out (ablation)."),
    "local_patch_size": (
        _INTEGER,
        _POSITIVE,
        (
            "Side of the local discriminator's patch; None: 7/16 of the image for "
            "parallel_attention, half the image for others."
        ),
    ),
    "padding": (
        *_choice("same", "symmetric"),
        "Of the convolutions: zeros, or mirrored.",
    ),
    "mask_channel": (_BOOL, {}, "The completion network sees the mask too."),
    "mean_color": (
        flags.DEFINE_list,
        {},
        "Red, green, blue (0..255) that fill the hole at the network's input.",
    ),
    "region": (
        *_choice("center", "random"),
        "What is predicted: the central box alone, or the whole image for any hole.",
    ),
    "bottleneck": (
        _INTEGER,
        _POSITIVE,
        "Length of the vector between encoder and decoder, times --width.",
    ),
    "latent_size": (_INTEGER, _POSITIVE, "Length of the latent z."),
    "generator_channels": (
        _INTEGER,
        _POSITIVE,
        "Channels of the generator's 4x4 features; each block halves them.",
    ),
    "generator_widths": (
        flags.DEFINE_list,
        {},
        "Channels of the generator's features from 4x4 on, instead of halvings.",
    ),
    "discriminator_widths": (
        flags.DEFINE_list,
        {},
        "Channels of the discriminator's blocks, instead of doublings.",
    ),
    "leaky_relu_slope": (
        _FLOAT,
        _NOT_NEGATIVE,
        "Slope of the discriminator's negative features.",
    ),
    "random_scales": (
        _BOOL,
        {},
        "Batch normalisation's scales start near 0, as in the program, not at 1.",
    ),
    "discriminator_batch_statistics": (
        _BOOL,
        {},
        "The discriminators use the batch's statistics in evaluation too.",
    ),
    # Losses.
    "reconstruction": (
        *_choice("mean", "half_sum"),
        "Mean squared error of the missing values, or half the sum over the batch.",
    ),
    "reconstruction_weight": (
        _FLOAT,
        _NOT_NEGATIVE,
        "Weight of the reconstruction loss.",
    ),
    "overlap": (
        _INTEGER,
        _NOT_NEGATIVE,
        "Width in pixels of the band inside the hole's border that weighs more.",
    ),
    "overlap_weight": (_FLOAT, _NOT_NEGATIVE, "Weight of that band."),
    "spatial_discount_gamma": (
        _FLOAT,
        {"lower_bound": 0, "upper_bound": 1},
        "Weight of the hole's L1 loss per pixel of distance from the border.",
    ),
    "coarse_weight": (
        _FLOAT,
        _NOT_NEGATIVE,
        "Weight of the coarse network's L1 losses.",
    ),
    "hole_weight": (_FLOAT, _NOT_NEGATIVE, "Weight of the L1 loss on the local patch."),
    "known_weight": (_FLOAT, _NOT_NEGATIVE, "Weight of the L1 loss on known pixels."),
    "adversarial_weight": (
        _FLOAT,
        _NOT_NEGATIVE,
        "Weight of the adversarial loss; 0 leaves it out.",
    ),
    "global_adversarial_weight": (
        _FLOAT,
        _NOT_NEGATIVE,
        "Weight of the global critic's score beside the local one's.",
    ),
    "discriminator_weight": (
        _FLOAT,
        _NOT_NEGATIVE,
        "Factor on the discriminators' own loss.",
    ),
    "gradient_penalty_weight": (
        _FLOAT,
        _NOT_NEGATIVE,
        "Weight of the critics' gradient penalty.",
    ),
    # Schedule.
    "critic_updates": (
        _INTEGER,
        _POSITIVE,
        "Updates of the critics for each of the networks, on batches of their own.",
    ),
    "coarse_pretraining_steps": (
        _INTEGER,
        _NOT_NEGATIVE,
        "So many first steps train the coarse network alone.",
    ),
    "completion_steps": (
        _INTEGER,
        _NOT_NEGATIVE,
        "Length of the completion phase.",
    ),
    "discriminator_steps": (
        _INTEGER,
        _NOT_NEGATIVE,
        "Length of the discriminator phase; the joint phase follows.",
    ),
    # Search.
    "literal": (
        _BOOL,
        {},
        "Weigh the mirrored image by W as printed in eq. 3, not by mirror(W).",
    ),
    "neighbourhood": (
        _INTEGER,
        _POSITIVE,
        "Odd side in pixels of the square that importance weights look at.",
    ),
    "weighting": (
        *_choice("missing", "known", "uniform"),
        (
            "Importance weight of a known pixel: share of missing pixels round it (Yeh et "
            "al.), of known ones (the widely used program), or 1."
        ),
    ),
    "context": (
        *_choice("l1", "squared"),
        "Context loss: sum of absolute or of squared weighted differences.",
    ),
    "prior": (
        *_choice("saturating", "non_saturating"),
        "Prior loss: log(1 - D) as published, or -log D (the widely used program).",
    ),
    "prior_weight": (_FLOAT, _NOT_NEGATIVE, "Lambda, weight of the prior loss."),
    "iterations": (_INTEGER, _POSITIVE, "Steps of the search at most."),
    "restarts": (
        _INTEGER,
        _POSITIVE,
        "Starts per image, searched side by side; the best is kept.",
    ),
    "start": (*_choice("uniform", "normal"), "Distribution of the starting z."),
    "group_size": (
        _INTEGER,
        _NOT_NEGATIVE,
        (
            "Searches computed together; 1 rounds the same whatever the batch, more (0: "
            "all) are faster for many."
        ),
    ),
    "patience": (
        _INTEGER,
        _NOT_NEGATIVE,
        (
            "An image stops when its lowest loss has not fallen for so many iterations; "
            "0: never."
        ),
    ),
    "min_improvement": (
        _FLOAT,
        _NOT_NEGATIVE,
        "What counts as falling: more than this share of the lowest loss.",
    ),
    "keep": (*_choice("best", "last"), "The z that is returned."),
    "blending": (
        *_choice("poisson", "none", "weights"),
        (
            "How the found image comes into the hole; weights: over known pixels too, as "
            "the widely used program does without blending."
        ),
    ),
    "border": (
        *_choice("natural", "wrap"),
        "Of the blending at the image's border; wrap: as the widely used program.",
    ),
    "clip_blended": (_BOOL, {}, "False lets blended values exceed white."),
    # Optimisation.
    "optimizer": (flags.DEFINE_string, {}, "Rule of the updates."),
    "learning_rate": (_FLOAT, _NOT_NEGATIVE, "Rate of the optimizer."),
    "discriminator_learning_rate": (
        _FLOAT,
        _NOT_NEGATIVE,
        "Rate of the discriminators' optimizer; None: as --learning_rate.",
    ),
    "momentum": (_FLOAT, {"lower_bound": 0, "upper_bound": 1}, "Of Nesterov's rule."),
    "beta_1": (_FLOAT, _DECAY, "Adam's decay of the first moment."),
    "beta_2": (_FLOAT, _DECAY, "Adam's decay of the second moment."),
    "epsilon": (_FLOAT, {"lower_bound": 1e-30}, "Adam's, below its fraction line."),
    "clip_norm": (
        _FLOAT,
        {"lower_bound": 1e-12},
        "Largest L2 norm of each player's gradient; None: no limit.",
    ),
    "averaging_decay": (
        _FLOAT,
        _DECAY,
        (
            "Decay of the moving average of the weights that is used outside training; "
            "0: no average."
        ),
    ),
}


def shared_arguments(method, given):
    """Those of the programs' own values (name -> value) that a method's class takes."""
    accepted = inspect.signature(method).parameters
    return {name: value for name, value in given.items() if name in accepted}


def _parameters(method):
    """The parameters of a method's class that are flags: name -> default."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(method).parameters.items()
        if name not in _OWN
    }


def define(methods, values=flags.FLAGS):
    """Defines the flags of all parameters of the methods given.

    Args:
      methods: dict from name to class.
      values: the absl FlagValues to define them in.
    """
    defaults = {}
    for method, network in methods.items():
        for name, default in _parameters(network).items():
            defaults.setdefault(name, []).append(f"{method}: {text(default)}")
    for name, known in defaults.items():
        define_flag, bounds, description = _FLAGS[name]
        description = f"{description} Defaults: {'; '.join(known)}."
        define_flag(name, None, help=description, flag_values=values, **bounds)


def check(methods, method, values=flags.FLAGS):
    """Refuses flags that the chosen method does not know.

    Raises:
      UsageError: naming the flag and those that the method takes.
    """
    known = _parameters(methods[method])
    for name in _names(methods):
        if values[name].value is not None and name not in known:
            raise UsageError(
                f"--{name} is no parameter of {method}, which takes "
                f"--{', --'.join(known)}"
            )


def arguments(methods, method, values=flags.FLAGS):
    """Keyword arguments of the chosen method's class, from the flags that were given.

    Raises:
      UsageError: a list that is not of numbers.
    """
    given = {}
    for name in _parameters(methods[method]):
        value = values[name].value
        if isinstance(value, list):
            try:
                value = tuple(float(entry) for entry in value)
            except ValueError:
                raise UsageError(
                    f"--{name}={','.join(value)}: must be numbers with commas between"
                ) from None
        if value is not None:
            given[name] = value
    return given


def effective(methods, method, modules, values=flags.FLAGS):
    """All flags that count in a run as text, defaults included; None is left out.

    Args:
      methods, method: the classes by name, and the one that was chosen.
      modules: names of the modules whose other flags belong to the program.
      values: the absl FlagValues.

    Returns:
      dict name -> text.
    """
    by_module = values.flags_by_module_dict()
    parameters = _names(methods)
    own = {
        flag.name: flag.value
        for module in modules
        for flag in by_module[module]
        if flag.name not in parameters
    }
    taken = {
        name: default if values[name].value is None else values[name].value
        for name, default in _parameters(methods[method]).items()
    }
    values = own | taken
    return {name: text(value) for name, value in values.items() if value is not None}


def text(value):
    """A value as it is written on the command line."""
    if isinstance(value, list | tuple):
        return ",".join(str(entry) for entry in value)
    return str(value)


def _names(methods):
    return {name for network in methods.values() for name in _parameters(network)}
