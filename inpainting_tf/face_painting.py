"""The parts of a synthetic face: opacities and colours on the pixel grid.

Inputs: parameters of `face_parameters` with scalars as `[B, 1, 1]`, and the pixel grids
of `head_geometry`. Lengths are in half image sizes: x runs from -1 (left) to 1, y from
-1 (top) to 1.

Stages: shapes and textures; `head_geometry` projects every pixel back onto the turned
head, an ellipsoid whose front is flatter than a sphere, so that shift and
foreshortening of the features come from the projection alone; then one function per
part, in painting order, and the order itself. A part yields groups `(mask or None,
(colour, alpha), ...)`: one colour per face, one opacity per pixel.
"""

import math
from types import SimpleNamespace

import tensorflow as tf

from inpainting_tf.face_parameters import SHAPE_RANGES, hash_bits


def _step(low, high, value):
    """0 at `low`, 1 at `high` (either may be the larger), smooth between."""
    t = tf.clip_by_value((value - low) * (1 / (high - low)), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def _bump(x, y=None):
    """A soft round spot: 1 at the origin, about 0.37 at radius 1."""
    return tf.exp(-x * x if y is None else -(x * x + y * y))


def _double(function, angle):
    """A function of `[B]` angles, the same to the last bit in every batch size."""
    return tf.cast(function(tf.cast(angle, tf.float64)), tf.float32)


def _texture(salt, x, y, cells):
    """Smooth noise in [0, 1], `[B, H, W]`, `cells` random values to a unit length.

    `x` is `[B or 1, W]`, `y` `[B or 1, H]`, both within +-1.5; `salt` is `[B, 1, 1]`.
    Linear interpolation of a grid, written as two matrix products.
    """
    node = tf.range(3 * cells)
    grid = hash_bits(tf.cast(node[:, None] * 4096 + node, tf.uint32))
    grid = hash_bits(grid + tf.cast(salt, tf.uint32) + cells)
    grid = tf.cast(tf.bitwise.right_shift(grid, 8), tf.float32) * 2.0**-24

    def weights(position):
        place = (position[..., None] + 1.5) * cells - tf.cast(node, tf.float32)
        return tf.nn.relu(1 - tf.abs(place))

    return weights(y) @ grid @ tf.linalg.matrix_transpose(weights(x))


def head_geometry(p, size):
    """Pixel grids `[B, size, size]` (or broadcastable to it) that the parts draw on.

    With the head an ellipsoid of half width a and half depth 0.75 a, a surface point
    at side angle t lies at R sin(t + turn), where tan(turn) = 0.75 tan(yaw) and
    R = a sqrt(cos^2 yaw + 0.75^2 sin^2 yaw). Inverting this for every pixel gives
    sin(t), the face coordinates fx and fy, and `side`: |sin(t)| unwrapped past 1
    behind the ear.
    """
    g = SimpleNamespace(pixel=2.0 / size)
    line = (2.0 * tf.range(size, dtype=tf.float32) + (1.0 - size)) / size
    g.x, g.y = line[None, None, :], line[None, :, None]
    yaw = tf.cast(p.yaw, tf.float64) * (math.pi / 180)
    turn = tf.atan(0.75 * tf.tan(yaw))
    g.sin, g.cos = tf.cast(tf.sin(turn), tf.float32), tf.cast(tf.cos(turn), tf.float32)
    g.turned, g.sign = _step(0.05, 0.35, tf.abs(g.sin)), tf.sign(g.sin)
    g.x0 = g.x + 0.3 * p.head_width * g.sin  # crops are aligned on the face
    g.fy = g.y - p.head_y
    flat = tf.cast(tf.cos(yaw) / tf.cos(turn), tf.float32)  # R / a
    g.radius = p.head_width * flat

    down = g.fy / p.head_height
    chin = tf.nn.relu(down)
    chin2 = chin * chin
    narrow = 1 - p.jaw_taper * chin2
    across = g.x0 / (g.radius * narrow)
    across2 = across * across
    vertical = down * down - p.jaw_square * chin2 * (1 - tf.minimum(chin2, 1.4))
    r2 = across2 + vertical
    depth = tf.sqrt(tf.nn.relu(1 - r2))
    sine = across * g.cos - depth * g.sin
    front = across * g.sin + depth * g.cos
    g.across, g.down, g.sine = across, down, sine
    g.head = (1 - tf.sqrt(r2)) * p.head_width  # about the distance inside
    g.face = _cover(g, g.head)
    g.fx = sine * (p.head_width * narrow)
    g.fu = tf.abs(g.fx)
    g.side = tf.where(front < 0, 2 - tf.abs(sine), tf.abs(sine))
    # Towards the back of a turned head the surface goes on: it darkens more slowly.
    back = tf.cast(across * g.sign < 0, tf.float32) * g.turned
    g.facing = tf.sqrt(tf.nn.relu(1 - vertical - across2 * (1 - 0.5 * back)))

    # The skull reaches farther back than the face: it shifts away from the nose.
    g.skull_x = g.x0 + 0.42 * p.head_width * g.sin
    width = p.head_width * tf.sqrt(g.cos * g.cos + 1.4 * g.sin * g.sin)
    g.skull = _dome(g.skull_x, g.fy + 0.15, width, p.head_height - 0.15, 1.7)
    width, height = width + p.hair_volume, p.head_height - 0.15 + p.hair_volume
    flare = 1 + 0.15 * p.is_long * tf.nn.relu(g.fy)
    g.hair = _dome(g.skull_x / flare, g.fy + 0.15, width, height, p.taper)

    # Textures on the head are mirrored about its centre, like all else on it.
    g.grain = _texture(p.salt, tf.abs(g.x0[:, 0]), g.y[:, :, 0], 34)
    curls = _texture(p.salt, tf.abs(g.skull_x[:, 0]), g.y[:, :, 0], 16)
    fan = tf.abs(g.skull_x) / (g.fy + 1.2)  # strands fan out from above the crown
    fan += p.strand_wave * tf.sin(9 * g.fy + p.strand_phase)
    strands = tf.sin(47 * fan + p.strand_phase + 2 * curls) + tf.sin(103 * fan)
    strands = 0.38 + 0.17 * strands + 0.24 * g.grain
    curls = 0.65 * curls + 0.35 * g.grain
    g.strands = strands + p.curl * (curls - strands)
    g.hair += p.curl * 0.10 * (curls - 0.5)
    g.hair_end = p.hair_end - 0.08 * g.strands - g.fy
    g.plaster = _texture(p.salt, g.x[:, 0], g.y[:, :, 0], 20)
    return g


def _dome(x, y, width, height, taper):
    """Distance inside a half ellipse (y < 0); below, a column narrowing by `taper`."""
    vertical = tf.where(y < 0, y / height, y * taper)
    ratio = x / width
    return (1 - tf.sqrt(ratio * ratio + vertical * vertical)) * width


def _cover(g, distance):
    """Opacity of a shape from the distance inside its edge, one pixel of blending."""
    return tf.clip_by_value(distance * (1 / g.pixel) + 0.5, 0.0, 1.0)


def background(p, g):
    x, y = g.x, g.y
    slope = x * _double(tf.cos, p.wall_angle) + y * _double(tf.sin, p.wall_angle)
    layers = [(p.wall, tf.ones_like(slope)), (p.wall_far, _step(-1.3, 1.3, slope))]
    for i in range(3):
        s = {name: getattr(p, f"shape{i}_{name}") for name in SHAPE_RANGES}
        s = SimpleNamespace(**s)
        dx, dy = tf.abs(x - s.x) / s.width, tf.abs(y - s.y) / s.height
        disc, box = tf.sqrt(dx * dx + dy * dy), tf.maximum(dx, dy)
        inside = 1 - tf.where(s.round < 0.5, disc, box)
        inside *= tf.minimum(s.width, s.height)
        alpha = s.alpha * _step(-s.blur, s.blur, inside)
        layers.append((getattr(p, f"shape{i}"), alpha))
    along = x * _double(tf.cos, p.stripe_angle) + y * _double(tf.sin, p.stripe_angle)
    wave = _step(-0.35, 0.35, tf.sin(p.stripe_freq * along))
    striped = tf.cast(p.stripes < 0.3, tf.float32) * p.stripe_alpha
    layers.append((p.stripe, striped * wave))
    layers.append((0.5 * p.wall_far, p.plaster * g.plaster))
    yield (None, *layers)


def back_hair(p, g):
    shape = _cover(g, tf.minimum(g.hair, g.hair_end)) * (1 - p.is_bald)
    shade = 0.2 + 0.35 * _step(-0.4, 0.6, g.fy)
    shade += 0.4 * _step(0.65, 0.2, g.strands)
    yield (shape, (p.hair, tf.ones_like(shape)), (p.hair_dark, shade))


def body(p, g):
    x, y = tf.abs(g.x0), g.y
    neck = _cover(g, tf.minimum(p.neck_width - x, g.fy - 0.3))
    chin = _step(0.30, 0.02, g.fy - p.head_height + 0.5 * x * x)
    out = tf.nn.relu(x - p.neck_width + 0.06)
    top = y - p.shoulder_y - 0.05 * out - 0.25 * out * out
    skin = tf.maximum(neck, _cover(g, top - 0.02))
    ones = tf.ones_like(skin)
    opening = p.neckline * tf.nn.relu(1 - x * x / 0.09) + 0.03 * _step(0.5, 0.3, x)
    cloth = _cover(g, top - opening)
    bands = tf.sin(p.cloth_freq * tf.where(p.cloth_kind < 0.25, y, x))
    bands = _step(-0.3, 0.3, bands) * tf.cast(p.cloth_kind < 0.4, tf.float32)
    folds = _step(0.35, 0.65, 0.5 + 0.5 * tf.sin(14 * x + 6 * y) * (y - 0.4))
    shade = 0.25 * g.plaster + 0.35 * _step(0.2, 0.9, x) + 0.25 * folds
    yield (skin, (p.skin, ones), (p.skin_dark, 0.25 + 0.6 * chin))
    yield (
        cloth,
        (p.cloth, ones),
        (p.cloth_trim, 0.7 * bands),
        (p.cloth_trim, 0.7 * _step(0.05, 0.04, top - opening) * _step(0.5, 0.4, x)),
        (0.45 * p.cloth, shade),
    )


def head(p, g):
    skull = _cover(g, g.skull) * g.turned * p.is_bald
    light_x = p.light_side * g.turned * 0.6  # frontal faces: light from the front
    light = 0.85 * g.facing - 0.30 * g.down + light_x * g.across
    ones = tf.ones_like(light)
    cheeks = _bump((g.fu - 0.30) * (1 / 0.13), (g.fy - 0.2) * 10)
    forehead = _bump(g.fx * 4, (g.fy + 0.38) * 7)
    freckles = p.freckles * _step(0.66, 0.8, g.grain) * _bump((g.fy - 0.13) * 8)
    yield (
        skull,
        (p.skin, ones),
        (p.skin_dark, 0.12 + 0.5 * _step(0.2, -0.05, g.skull)),
    )
    yield (
        g.face,
        (p.skin, ones),
        (p.skin_dark, 0.75 * _step(0.75, -0.15, light)),
        (p.skin_light, 0.45 * _step(0.72, 1.0, light)),
        (p.skin_light, 0.22 * forehead),
        (p.skin_red, p.blush * cheeks),
        (p.skin_dark, 0.5 * freckles),
        (p.skin_dark, 0.17 * g.grain),
    )


def beard(p, g):
    y = g.fy - p.mouth_y
    line = 0.12 * _bump(g.fu * 10) - 0.04 - 0.9 * tf.nn.relu(g.fu - 0.22)
    chin = _step(0.0, 0.08, y - line - 0.1 * (1 - p.beard_size))
    upper = _bump((y + 0.085) * 25) * _step(0.03, -0.03, g.fu - 1.1 * p.mouth_width)
    lips = _bump(g.fu / (0.9 * p.mouth_width), (y - 0.01) * 18)
    shape = tf.maximum(chin, upper) * (1 - lips) * p.beard * _step(1.1, 0.95, g.side)
    thick = _step(0.1, 0.6, p.beard_size)
    stubble = (0.25 + 0.6 * thick) * (0.7 + 0.3 * g.grain)
    strands = thick * 0.6 * _step(0.45, 0.8, g.strands)
    mask = shape * _cover(g, g.head + 0.015)
    yield (mask, (0.8 * p.brow, stubble), (0.7 * p.hair_dark, strands))


def eyes(p, g):
    # One pair of mirrored coordinates draws both eyes: a runs outwards, b down.
    a = g.fu - p.eye_x * p.head_width
    b = g.fy - p.eye_y + p.eye_tilt * a
    t = a / p.eye_width
    height = p.eye_open * p.eye_width * (1 - t * t)
    above, below = b + height, 0.62 * height - b  # distances inside the lids
    ball = _cover(g, tf.minimum(above, below)) * g.face
    inside = _step(1.25, 0.9, tf.abs(t))
    lash = 0.012 + 0.014 * p.makeup + 0.006 * t
    lid = _cover(g, lash - tf.abs(above + 0.004)) * inside
    crease = _bump((above + 0.25 * height + 0.035) * 80) * inside
    socket = _bump(a * 7, (b + 0.05) * 12)
    inner = _bump((a + 0.13) * 16, (b + 0.02) * 10)
    bags = _bump((below + 0.05 - 0.03 * t * t) * 55) * inside

    gaze = a - p.gaze_x * tf.sign(g.fx)
    rise = b - p.gaze_y + 0.01
    distance = tf.sqrt(gaze * gaze + rise * rise)
    glow = _bump(gaze * 25, (rise - 0.025) * 50)
    glint = _bump((gaze + 0.02) * 62, (rise + 0.022) * 62)
    white = tf.ones_like(p.skin)
    yield (
        g.face,
        (p.skin_dark, 0.28 * socket),
        (p.skin_dark, 0.22 * inner),
        (p.eyeshadow, p.makeup * socket),
        (p.skin_dark, 0.35 * p.age * bags),
    )
    yield (
        ball,
        (white * (0.95, 0.94, 0.92), tf.ones_like(ball)),
        (0.4 * p.iris, _cover(g, 0.056 - distance)),
        (p.iris, _cover(g, 0.046 - distance)),
        (0.4 + 0.6 * p.iris, 0.6 * glow * _cover(g, 0.05 - distance)),
        (0.1 * white, _cover(g, 0.025 - distance)),
        (0.5 * p.skin_dark, 0.55 * _step(0.045, 0.0, above)),
        (white, glint),
    )
    yield (
        g.face,
        (p.skin_dark, 0.55 * crease),
        (0.7 * p.skin_dark, 0.6 * _bump(below * 80) * inside),
        (0.35 * p.skin_dark, lid),
    )


def brows(p, g):
    a = g.fu - p.eye_x * p.head_width - 0.005
    t = a / (1.3 * p.eye_width)
    bow = t - 0.35
    line = p.eye_y - p.brow_height - p.brow_arch * (1 - bow * bow) + p.brow_slope * a
    half = p.brow_thick * (0.9 - 0.5 * _step(0.0, 1.0, t))
    shape = _step(-0.008, 0.008, half - tf.abs(g.fy - line))
    shape *= _step(1.02, 0.92, tf.abs(t))
    hairs = 0.9 + 0.1 * tf.sin(160 * a + 60 * g.fy)
    yield (g.face, (p.brow, shape * hairs))


def nose(p, g):
    # The tip stands out of the head, so turning moves it farther than the skin.
    bridge = p.eye_y + 0.02
    t = tf.clip_by_value((g.fy - bridge) / (p.nose_y - bridge), 0.0, 1.3)
    lean = p.nose_depth * p.head_width * g.sin / g.cos
    x, y, wide = g.fx - lean * t * t, g.fy - p.nose_y, p.nose_width
    u = tf.abs(x)
    along = _step(-0.05, 0.25, t) * _step(0.05, -0.08, y)
    far = 0.22 + 0.38 * g.turned * g.sign * tf.sign(x)  # darker on the far side
    sides = _bump((u - 0.045 - 0.4 * wide * t * t) * 28) * along
    dx = u - 0.55 * wide
    wings = _bump((tf.sqrt(dx * dx + tf.square(y + 0.01)) - 0.05) * 80)
    wings *= _step(0.5, 0.75, u / wide) * _step(-0.06, -0.02, y)
    base = _bump(x / (0.9 * wide), (y - 0.045) * 45)
    holes = _bump((u - 0.45 * wide) * 38, (y - 0.028) * 80)
    yield (
        g.face,
        (p.skin_dark, tf.nn.relu(far) * sides),
        (p.skin_light, 0.35 * _bump(x * 36) * along),
        (p.skin_red, 0.25 * _bump(x / wide, y * 14)),
        (p.skin_light, 0.5 * _bump(x * 33, (y + 0.03) * 33)),
        (p.skin_dark, 0.45 * base),
        (p.skin_dark, 0.5 * wings),
        (0.45 * p.skin_dark, 0.8 * holes),
        (p.skin_dark, 0.25 * _bump(x * 50, (y - 0.1) * 25)),
    )


def mouth(p, g):
    lean = 0.35 * p.nose_depth * p.head_width * g.sin / g.cos
    t = (g.fx - lean) / p.mouth_width
    u = tf.abs(t)
    arch = tf.nn.relu(1 - t * t)
    y = g.fy - p.mouth_y - p.smile * (arch - 0.5)
    gap, full = p.mouth_open * arch, arch * (1.3 - 0.3 * arch)
    bow = 1 - 0.3 * _bump(t * 8) + 0.15 * _bump((u - 0.25) * 5)
    top, bottom = -p.lip_upper * full * bow - gap, p.lip_lower * full + gap
    within = _step(1.02, 0.97, u)
    upper = _cover(g, tf.minimum(y - top, -gap - y)) * within
    lower = _cover(g, tf.minimum(bottom - y, y - gap)) * within
    inside = _cover(g, gap - tf.abs(y)) * within * tf.sign(p.mouth_open)
    line = _cover(g, 0.006 - tf.abs(tf.abs(y) - gap)) * _step(1.1, 1.0, u)
    shine = _bump(t * 2.2, (y - 0.45 * bottom - 0.5 * gap) * 80)
    drop = g.fy - p.nose_y - 0.1
    folds = _bump((g.fu - 0.185 - 0.45 * drop) * 55) * _bump(drop * 11)
    ageing = 0.05 + 0.35 * p.age * p.age + 3 * p.mouth_open
    white = tf.ones_like(p.skin)
    yield (
        g.face,
        (p.skin_dark, 0.4 * _bump(t * 1.4, (y - bottom - 0.03) * 40)),
        (p.skin_dark, ageing * folds),
        (p.lip, lower),
        (0.4 + 0.6 * p.lip, 0.55 * lower * shine),
        (0.82 * p.lip, upper),
        (white * (0.28, 0.07, 0.08), inside),
        (white * (0.95, 0.93, 0.90), inside * _step(0.012, 0.0, y)),
        (0.42 * p.lip, 0.9 * line),
        (p.skin_dark, 0.5 * _bump((u - 1.05) * 10, y * 45)),
    )


def glasses(p, g):
    a = g.fu - p.eye_x * p.head_width - 0.005
    b = g.fy - p.eye_y - 0.025
    width, height = p.eye_width + 0.065, 0.9 * p.eye_width + 0.015
    corner = p.lens_round * height
    dx = tf.nn.relu(tf.abs(a) - width + corner)
    dy = tf.nn.relu(tf.abs(b) - height + corner)
    lens = corner - tf.sqrt(dx * dx + dy * dy)  # distance inside the rounded box
    frame = _cover(g, 0.013 - tf.abs(lens))
    bar = tf.minimum(0.013 - tf.abs(b + 0.04), tf.abs(a) - width)
    bar = _cover(g, tf.minimum(bar, 0.97 * p.head_width - g.fu))
    glass = _cover(g, lens)
    glare = _step(0.03, 0.0, tf.abs(a + b))
    yield (
        p.has_glasses * _cover(g, g.head + 0.03),
        (0.3 * p.frame, glass * (0.06 + 0.8 * p.is_shaded)),
        (tf.ones_like(p.frame), 0.16 * glass * glare),
        (p.frame, tf.maximum(frame, bar)),
    )


def front_hair(p, g):
    u, x2 = g.side, g.skull_x * g.skull_x
    line = p.hairline + p.bend * u * u + p.drop * _step(0.75, 0.95, u)
    line += 0.5 * _step(1.0, 1.2, u) - 0.10 * g.strands
    inside = tf.minimum((line - g.down) * 0.3, g.hair_end)
    shape = _cover(g, tf.minimum(g.hair, inside)) * (1 - p.is_bald)
    shadow = g.face * _step(-0.045, 0.0, inside) * (1 - p.is_bald)
    ring = _bump((g.fy + 0.5 - 0.8 * x2) * 10) + 0.5 * _bump((g.fy - 0.25) * 4)
    parting = _bump(g.sine * 50) * _step(-0.6, -0.8, g.down)
    edges = tf.maximum(0.5 * _step(0.12, 0.0, g.hair), 0.8 * parting * p.bend)
    band = _cover(g, 0.035 - tf.abs(g.fy + 0.56 - 0.6 * x2)) * p.has_headband
    yield (None, (p.skin_dark, 0.6 * shadow))
    yield (
        shape,
        (p.hair, tf.ones_like(shape)),
        (p.hair_dark, 0.65 * _step(0.65, 0.15, g.strands)),
        (p.hair_light, p.sheen * ring * _step(0.3, 0.8, g.strands)),
        (p.hair_dark, edges),
        (p.headband, band),
    )


def ears(p, g):
    gold = tf.ones_like(p.skin) * (0.93, 0.82, 0.5)
    for sign in (-1.0, 1.0):
        near = -sign * g.sin  # above 0: this ear is turned towards us
        visible = _step(-0.3, -0.12, near)
        dx = g.x0 * sign - g.radius * g.cos - 0.02 * g.cos
        dy = g.fy - 0.06
        ex, ey = dx / (0.75 * p.ear_size), dy / (1.5 * p.ear_size)
        inside = 1 - tf.sqrt(ex * ex + ey * ey)
        behind = g.face * (1 - _step(0.1, 0.3, near))
        mask = _cover(g, inside * p.ear_size) * (1 - behind) * visible
        shade = 0.2 + 0.5 * _bump((inside - 0.45) * 5)
        bare = 1 - p.is_long
        yield (mask * bare, (p.skin, tf.ones_like(mask)), (p.skin_dark, shade))
        ring = tf.sqrt(tf.square(dx - 0.01) + tf.square(dy - 1.7 * p.ear_size))
        ring = _cover(g, 0.028 - ring) * p.has_earring
        yield (visible, (gold, ring))


# Part, does it belong to the head, and the box it is drawn in: top, bottom, |x|.
PAINTING_ORDER = (
    (background, 0.0, (-1.0, 1.0, 1.0)),
    (back_hair, 0.0, (-1.0, 1.0, 1.0)),
    (body, 0.0, (0.2, 1.0, 1.0)),
    (head, 1.0, (-0.85, 0.85, 1.0)),
    (beard, 1.0, (0.0, 0.9, 0.75)),
    (eyes, 1.0, (-0.3, 0.25, 0.65)),
    (brows, 1.0, (-0.4, 0.05, 0.65)),
    (nose, 1.0, (-0.15, 0.5, 0.6)),
    (mouth, 1.0, (0.15, 0.75, 0.6)),
    (glasses, 1.0, (-0.3, 0.3, 0.75)),
    (front_hair, 1.0, (-1.0, 1.0, 1.0)),
    (ears, 1.0, (-0.25, 0.4, 1.0)),
)
