"""What defines a synthetic face: named numbers and colours, drawn by an integer hash.

Input: int64 face indices `[B]`, a split, a seed. Output: a dict of `[B]` numbers and
`[B, 3]` colours in [0, 1], see `draw_parameters`. A face's numbers are a pure function
of (seed, split, index). Lengths are in half image sizes.

Stages: tables of ranges, hair styles and colours; hash; `draw_parameters`.
"""

import tensorflow as tf

SPLITS = ("train", "test", "test_frontal", "test_turned")
SKIN_LEVELS = 2**20  # even levels are train faces, odd levels are test faces

# Uniform ranges of one background shape, and of everything.
SHAPE_RANGES = {
    "x": (-1.1, 1.1), "y": (-1.1, 0.8), "width": (0.1, 0.5), "height": (0.1, 0.6),
    "round": (0, 1), "blur": (0.01, 0.15), "hue": (-0.12, 0.12), "value": (0.2, 1.0),
    "alpha": (0.2, 0.9),
}  # fmt: skip
# A name's position is its column in the random table.
_RANGES = {
    "salt": (0, 2**24), "yaw_kind": (0, 1), "yaw": (-1, 1), "skin": (0, 1),
    "light_side": (-1, 1), "head_width": (0.50, 0.58), "head_height": (0.69, 0.76),
    "head_y": (-0.03, 0.03), "jaw_taper": (0.06, 0.24), "jaw_square": (0.1, 0.8),
    "ear_size": (0.08, 0.11),
    "style": (0, 1), "hair": (0, 1), "dyed": (0, 1), "dye_hue": (0, 1),
    "hair_volume": (0.0, 0.08), "hairline": (-0.06, 0.06), "hair_length": (-0.15, 0.2),
    "strand_phase": (0, 6.3), "strand_wave": (0.0, 0.05), "sheen": (0.1, 0.5),
    "headband": (0, 1), "band_hue": (0, 1),
    "eye_x": (0.40, 0.46), "eye_y": (-0.07, 0.0), "eye_width": (0.115, 0.14),
    "eye_open": (0.38, 0.62), "eye_tilt": (-0.05, 0.16), "iris": (0, 1),
    "gaze_x": (-0.035, 0.035), "gaze_y": (-0.012, 0.012), "makeup": (0, 1),
    "shadow_hue": (0, 1), "brow_height": (0.10, 0.145), "brow_arch": (0.01, 0.05),
    "brow_slope": (-0.06, 0.24), "brow_thick": (0.014, 0.032),
    "nose_y": (0.22, 0.29), "nose_width": (0.09, 0.135), "nose_depth": (0.26, 0.40),
    "mouth_y": (0.42, 0.48), "mouth_width": (0.16, 0.225), "smile": (-0.005, 0.06),
    "mouth_open": (0, 1), "lip_upper": (0.025, 0.045), "lip_lower": (0.035, 0.06),
    "lip_red": (0, 1), "blush": (0.05, 0.45), "freckles": (0, 1), "age": (0, 1),
    "beard": (0, 1), "beard_size": (0, 1), "glasses": (0, 1), "lens_round": (0.25, 1),
    "frame_hue": (0, 1), "frame_value": (0.08, 0.6), "lens_tint": (0, 1),
    "neck_width": (0.25, 0.34), "shoulder_y": (0.72, 0.82), "neckline": (0.0, 0.3),
    "cloth_hue": (0, 1), "cloth_sat": (0.1, 0.75), "cloth_value": (0.15, 0.95),
    "cloth_kind": (0, 1), "cloth_freq": (14, 34), "earring": (0, 1),
    "wall_hue": (0, 1), "wall_sat": (0.02, 0.42), "wall_value": (0.25, 0.95),
    "wall_angle": (0, 6.3), "wall_shift": (-0.15, 0.15), "stripes": (0, 1),
    "stripe_angle": (0, 3.2), "stripe_freq": (6, 22), "stripe_alpha": (0.1, 0.45),
    "plaster": (0, 0.3),
    **{f"shape{i}_{name}": limits for i in range(3) for name, limits in SHAPE_RANGES.items()},
}  # fmt: skip

# Volume; hairline at the centre, its bend and how far it drops beyond |side| = 0.8;
# lower edge; narrowing below the ears; curl.
_STYLES = (
    (0.00, -9.00, 0.00, 0.00, -1.00, 0.0, 0.0),  # bald
    (0.00, -0.66, 0.15, 0.50, 0.25, 1.6, 0.5),  # cropped
    (0.06, -0.64, 0.02, 0.50, 0.30, 1.6, 0.0),  # short
    (0.07, -0.42, 0.08, 0.50, 0.35, 1.5, 0.0),  # short, fringe
    (0.06, -0.78, 0.85, 3.00, 1.20, 0.0, 0.0),  # long, parted
    (0.08, -0.40, 0.15, 3.00, 0.95, 0.0, 0.0),  # long, fringe
    (0.09, -0.74, 0.75, 3.00, 0.45, 0.2, 0.2),  # bob, parted
    (0.22, -0.62, 0.20, 0.60, 0.40, 1.3, 1.0),  # curly
)

_SKIN = ((255, 226, 206), (245, 207, 178), (230, 182, 146), (199, 145, 108),
         (155, 103, 72), (108, 69, 50), (76, 49, 38))  # fmt: skip
_HAIR = ((24, 20, 22), (48, 33, 27), (84, 55, 38), (118, 72, 44), (148, 66, 34),
         (140, 98, 66), (176, 132, 78), (214, 176, 112), (238, 216, 170),
         (150, 146, 144), (226, 224, 222))  # fmt: skip
_IRIS = ((58, 36, 24), (92, 58, 34), (128, 96, 52), (88, 116, 74), (84, 128, 164),
         (120, 140, 152))  # fmt: skip


def hash_bits(x):
    """A bijective 32-bit mixer (the finaliser of MurmurHash3); uint32, any shape."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, shift))
        x *= tf.constant(factor, tf.uint32)
    return x


def _uniform(indices, split, seed, columns):
    """Numbers in [0, 1), float32 `[B, columns]`, pure in (seed, split, index)."""

    def halves(value):
        value = tf.cast(value, tf.int64)
        return [tf.cast(value // 2**32, tf.uint32), tf.cast(value % 2**32, tf.uint32)]

    key = tf.constant(0, tf.uint32)
    for word in [*halves(seed), tf.cast(split, tf.uint32), *halves(indices)]:
        key = hash_bits(hash_bits(key) + word)
    column = hash_bits(tf.cast(tf.range(1, columns + 1), tf.uint32))
    bits = hash_bits(hash_bits(key[:, None] + column) + key[:, None])
    return tf.cast(tf.bitwise.right_shift(bits, 8), tf.float32) * 2.0**-24


def _ramp(stops, position):
    """Colours `[B, 3]` in [0, 1] at `position` `[B]` in [0, 1] along the stops."""
    place = position[:, None] * (len(stops) - 1.0) - tf.range(float(len(stops)))
    weights = tf.nn.relu(1.0 - tf.abs(place))
    return tf.reduce_sum(weights[..., None] * tf.constant(stops, tf.float32), 1) / 255.0


def _hsv(hue, saturation, value):
    """Colours `[B, 3]` from hue `[B]` (wraps round) and numbers or `[B]` tensors."""
    place = tf.abs(tf.math.floormod(hue, 1.0)[:, None] * 6 - (3.0, 2.0, 4.0))
    rgb = tf.clip_by_value((-1.0, 2.0, 2.0) + place * (1.0, -1.0, -1.0), 0, 1)
    saturation, value = saturation + 0 * hue, value + 0 * hue
    return value[:, None] * (1 - saturation[:, None] * (1 - rgb))


def draw_parameters(indices, split="train", seed=0):
    """Everything that defines the faces of `indices` (int64 `[B]`).

    `split` is a name, or as a tensor its place in `SPLITS`.

    Returns a dict: scalars `[B]` in half image sizes unless said (`yaw` in degrees,
    `has_...` and `is_...` 0 or 1), colours `[B, 3]` in [0, 1], `skin_level` int32
    `[B]` below `SKIN_LEVELS`, even for train and odd for the test splits: skin tone
    is one of 2**20 levels, so no train face can be a test face.
    """
    if not tf.is_tensor(split):
        split = tf.constant(SPLITS.index(split))
    low, high = tf.unstack(tf.constant(list(_RANGES.values()), tf.float32), axis=1)
    table = low + (high - low) * _uniform(indices, split, seed, len(_RANGES))
    p = dict(zip(_RANGES, tf.unstack(table, axis=1), strict=True))

    def chance(name, share):
        return tf.cast(p[name] < share, tf.float32)

    size = tf.where(p["yaw_kind"] < 1 / 3, 3.0, 45.0) * p["yaw"]
    turned = tf.where(p["yaw"] < 0, -1.0, 1.0) * (25 + 20 * tf.abs(p["yaw"]))
    p["yaw"] = tf.stack([size, size, 0 * size, turned])[split]

    half_level = tf.cast(p["skin"] * (SKIN_LEVELS // 2), tf.int32)
    p["skin_level"] = 2 * half_level + tf.minimum(split, 1)
    tone = tf.cast(p["skin_level"], tf.float32) / SKIN_LEVELS
    p["skin"] = skin = _ramp(_SKIN, tone)
    p["skin_dark"] = skin * (0.66, 0.50, 0.46)
    p["skin_light"] = 0.55 * skin + (0.45, 0.43, 0.39)
    p["skin_red"] = skin * (1.0, 0.62, 0.58)
    red = (0.1 + 0.55 * p["lip_red"] * p["lip_red"])[:, None]
    p["lip"] = (1 - red) * skin * (0.90, 0.60, 0.58) + red * (0.5 * skin + 0.5) * (
        (0.78, 0.20, 0.26)
    )

    style = tf.cast(p["style"] * len(_STYLES), tf.int32)
    styles = tf.unstack(tf.gather(tf.constant(_STYLES), style), axis=1)
    volume, hairline, p["bend"], p["drop"], p["hair_end"], p["taper"], p["curl"] = (
        styles
    )
    p["is_bald"] = tf.cast(style == 0, tf.float32)
    p["is_long"] = tf.cast((style >= 4) & (style <= 6), tf.float32)
    p["hair_volume"] += volume
    p["hairline"] += hairline
    p["hair_end"] += p["hair_length"] * p["is_long"]
    natural = _ramp(_HAIR, p["hair"] * (1 - 0.75 * tone))  # dark skin, darker hair
    dyed = (chance("dyed", 0.05) * (1 - p["is_bald"]))[:, None]
    dye = _hsv(p["dye_hue"], 0.55, 0.7)
    p["hair"] = hair = natural + dyed * (dye - natural)
    p["hair_dark"] = hair * (0.50, 0.44, 0.44)
    p["hair_light"] = 0.70 * hair + (0.30, 0.27, 0.22)
    p["brow"] = 0.5 * natural + 0.24 * p["skin_dark"]
    p["has_headband"] = chance("headband", 0.3) * p["is_long"]
    p["headband"] = _hsv(p["band_hue"], 0.6, 0.8)

    p["iris"] = _ramp(_IRIS, p["iris"] * (1 - 0.7 * tone))
    p["makeup"] = tf.nn.relu(p["makeup"] - 0.4) * (0.15 + p["is_long"])
    p["eyeshadow"] = _hsv(p["shadow_hue"], 0.45, 0.55)
    p["mouth_open"] = tf.nn.relu(p["mouth_open"] - 0.55) * 0.09
    p["smile"] += 0.5 * p["mouth_open"]
    p["freckles"] = chance("freckles", 0.15) * (1 - tone)
    p["beard"] = chance("beard", 0.5) * (1 - p["is_long"])
    p["has_glasses"] = chance("glasses", 0.2)
    p["is_shaded"] = chance("lens_tint", 0.12)
    p["frame"] = _hsv(p["frame_hue"], 0.4, p["frame_value"])
    p["has_earring"] = chance("earring", 0.5) * p["is_long"]

    hue, sat, value = p["cloth_hue"], p["cloth_sat"], p["cloth_value"]
    p["cloth"] = _hsv(hue, sat, value)
    p["cloth_trim"] = _hsv(hue + 0.4, 0.5 * sat, 1 - 0.7 * value)
    hue, sat, value = p["wall_hue"], p["wall_sat"], p["wall_value"]
    p["wall"] = _hsv(hue, sat, value)
    p["wall_far"] = _hsv(hue + p["wall_shift"], sat, 0.55 * value)
    p["stripe"] = _hsv(hue + 0.08, sat, 0.8 * value + 0.2)
    for i in range(3):
        p[f"shape{i}"] = _hsv(hue + p[f"shape{i}_hue"], sat, p[f"shape{i}_value"])
    return p
