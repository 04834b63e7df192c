"""Completes a photo of any size by a method made for pictures of one size.

Inputs: RGB pixels uint8 [H, W, 3], missing pixels bool [H, W], a `PhotoMethod`. Output:
completed pixels uint8 [H, W, 3], in which known pixels are unchanged.

A network has learnt holes of up to half of its own size. So each hole, or group of near
ones, gets a square window of the photo around it:

    at the photo's own pixels, where hole and surroundings fit into the method's size;
    else twice as large as the hole, as far as the photo reaches, and reduced.

What a reduced window gives is enlarged, and its colours go over into those of the known
pixels in a soft band inside the hole, about two reduced pixels wide ("feathered"). Only
the hole is taken from it. Methods without a size of their own get the whole photo.

Stages: `hole_boxes`; for each box `window_around`, cut out, reduce, complete, enlarge,
feather, compose.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from inpainting_tf import any_size, images
from inpainting_tf.blending import poisson_blend


@dataclasses.dataclass(frozen=True)
class PhotoMethod:
    """A method that completes photos; call it with a photo and a mask.

    Attributes:
      label: its name in file names and pictures; letters, digits, and ._-
      description: what it is and where it comes from, one line.
      fingerprint: changes whenever its completions might.
      inpaint: function (image float32 [1, S, S, 3] in [-1, 1], mask [1, S, S, 1],
        1 = missing) -> completed; for a `window_size` of None of any height and width.
      window_size: S, or None: it is given the whole photo.
      central_holes: it fills the central S/2 x S/2 alone.
      attend: function of what `inpaint` takes -> offsets int32 [1, h, w, 2] of its
        contextual attention, or None for a network without; None where unknown.
      watch: of a search, the same as `inpaint` with a third argument: function
        (iteration, found float32 [S, S, 3] in [-1, 1], loss) that it calls on the way;
        a `watched_search.WatchedSearch`.
      is_search: whether it is a search, which blends by its recipe.
    """

    label: str
    description: str
    fingerprint: str
    inpaint: Callable
    window_size: int | None
    central_holes: bool = False
    attend: Callable | None = None
    watch: Callable | None = None
    is_search: bool = False

    def __call__(self, photo, mask):
        """Completes a photo.

        Args:
          photo: uint8 [H, W, 3], RGB.
          mask: bool, or 0 and 1, or 0 and 255, [H, W] or [H, W, 1]; True, 1 or 255 =
            missing.

        Returns:
          uint8 [H, W, 3]; known pixels unchanged.

        Raises:
          ValueError: an array of another type or shape, other values in the mask, or
            nothing or everything missing.
        """
        return complete(*_checked(photo, mask), self)


def complete(rgb, missing, method):
    """Completes a photo of any size.

    Args:
      rgb: uint8 [H, W, 3].
      missing: bool [H, W]; somewhere True, somewhere False.
      method: PhotoMethod.

    Returns:
      uint8 [H, W, 3]; known pixels unchanged.
    """
    completed = rgb.copy()
    if method.window_size is None:
        image, mask = _tensors(rgb, missing)
        found = images.to_uint8(method.inpaint(image, mask))[0].numpy()
        completed[missing] = found[missing]
        return completed
    for top, left, height, width in hole_boxes(missing, method.window_size // 2):
        box = (top, left, height, width)
        window = window_around(box, rgb.shape[:2], method)
        filled = _complete_window(rgb, missing, window, method)
        # Other holes in the window have windows of their own.
        part = (slice(top, top + height), slice(left, left + width))
        own = tuple(
            slice(p.start - start, p.stop - start)
            for p, start in zip(part, window[:2], strict=True)
        )
        hole = missing[part]
        completed[part][hole] = filled[own][hole]
    return completed


def blending(method):
    """The method, its filling blended into the photo: no seam, no tint of its own.

    Poisson blending keeps the filling's gradients and lets it begin with the colours of
    the known pixels around, as Iizuka et al. (2017, section 3.5) do after completing.

    Args:
      method: PhotoMethod.

    Returns:
      PhotoMethod; a classical fill, which begins at the hole's border by itself, and a
      search as they are.
    """
    if method.window_size is None or method.is_search:
        return method

    @tf.function(reduce_retracing=True)
    def blend(image, mask, completed):
        # Across the hole's border nothing changes: a step there would be kept, too.
        inside = mask * tf.ones_like(completed)
        sums = tf.nn.avg_pool2d(completed * inside, 3, 1, "SAME")
        continued = tf.math.divide_no_nan(sums, tf.nn.avg_pool2d(inside, 3, 1, "SAME"))
        source = images.compose(continued, completed, mask)
        blended = poisson_blend(image, source, mask, tolerance=1e-4)
        return tf.clip_by_value(blended, -1.0, 1.0)

    def inpaint(image, mask):
        return blend(image, mask, method.inpaint(image, mask))

    return dataclasses.replace(
        method,
        description=f"{method.description}, blended in",
        fingerprint=f"{method.fingerprint} blended",
        inpaint=inpaint,
    )


# ---------------------------------------------------------------- holes, windows


def hole_boxes(missing, side):
    """Boxes that hold all missing pixels, apart from each other.

    What fits into side x side stays together; what is larger is cut in two where the
    widest band of known rows or columns crosses it, as long as there is one.

    Args:
      missing: bool [H, W].
      side: in pixels.

    Returns:
      list of (top, left, height, width), from above and left.
    """
    boxes = []
    stack = [(0, 0, missing)]
    while stack:
        top, left, part = stack.pop()
        rows, columns = (np.flatnonzero(part.any(axis=axis)) for axis in (1, 0))
        if not rows.size:
            continue
        height = int(rows[-1] - rows[0] + 1)
        width = int(columns[-1] - columns[0] + 1)
        gaps = [np.diff(lines).max(initial=1) - 1 for lines in (rows, columns)]
        if max(height, width) <= side or max(gaps) == 0:
            boxes.append((top + int(rows[0]), left + int(columns[0]), height, width))
            continue
        axis = int(np.argmax(gaps))
        lines = (rows, columns)[axis]
        cut = int(lines[np.argmax(np.diff(lines))]) + 1
        first, second = np.split(part, [cut], axis=axis)
        stack.append((top, left, first))
        stack.append(
            (top + cut, left, second) if axis == 0 else (top, left + cut, second)
        )
    return sorted(boxes)


def window_around(box, size, method):
    """The square window of a photo that a method completes a box in.

    Its side is the method's, or twice the box's longer side where that is more. It
    stays inside the photo if the box and a margin can; else it is as long as needed, up
    to the photo's longer side, and what lies below or to the right of the photo is
    continued by its mirror image. A method that fills central holes alone has the box
    in the centre.

    Args:
      box: (top, left, height, width).
      size: (height, width) of the photo.
      method: PhotoMethod with a `window_size`.

    Returns:
      (top, left, side); top and left are negative for central holes near the border.
    """
    top, left, height, width = box
    longer, shorter = max(size), min(size)
    if method.central_holes:
        side = max(method.window_size, 2 * max(height, width))
        side += -side % 4
        return top - (side - height) // 2, left - (side - width) // 2, side
    side = 2 * max(height, width)
    # Rather less known to the sides of a hole than a window beyond the photo; but a
    # quarter of the hole's shorter side at least.
    side = min(side, max(shorter, height, width, 5 * min(height, width) // 4))
    side = min(max(side, method.window_size), longer)
    corner = []
    for start, extent, limit in zip((top, left), (height, width), size, strict=True):
        centred = start - (side - extent) // 2
        corner.append(max(0, min(centred, limit - side)))
    return *corner, side


# ---------------------------------------------------------------- one window


def _complete_window(rgb, missing, window, method):
    """Completes a window: uint8 [H', W', 3], from its top left corner on."""
    top, left, side = window
    size = method.window_size
    if method.central_holes:
        image, mask = _tensors(*_central_window(rgb, missing, window))
    else:
        rows, columns = slice(top, top + side), slice(left, left + side)
        image, mask = _tensors(rgb[rows, columns], missing[rows, columns])
        image, mask = any_size.pad_to_multiple(image, mask, side, side)
    reduced, reduced_mask = any_size.fit(image, mask, size)
    completed = method.inpaint(reduced, reduced_mask)
    filled = any_size.enlarge(completed, side, side)
    if side > size:
        filled = _feathered(image, mask, filled, size)
    return images.to_uint8(images.compose(image, filled, mask))[0].numpy()


def _feathered(image, mask, filled, size):
    """Lets the filling begin with the colours of the known pixels next to it.

    These are means of the known pixels over some 3x3 reduced pixels. They weigh all at
    the hole's border, and nothing where no pixel around is known.

    Args:
      image, filled: float32 [1, L, L, 3] in [-1, 1].
      mask: float32 [1, L, L, 1].
      size: side of the reduced picture that the filling was enlarged from.

    Returns:
      float32 [1, L, L, 3] in [-1, 1].
    """
    side = image.shape[1]
    weighted = tf.concat([images.erase(image, mask), 1.0 - mask], axis=-1)
    weighted = tf.image.resize(weighted, [size, size], "bilinear", antialias=True)
    weighted = tf.nn.avg_pool2d(weighted, 3, 1, "SAME")
    weighted = tf.image.resize(weighted, [side, side], "bilinear")
    known = weighted[..., 3:]
    outside = tf.math.divide_no_nan(weighted[..., :3], known)
    # At a straight border half is known.
    share = tf.minimum(2.0 * known, 1.0)
    return share * outside + (1.0 - share) * filled


def _central_window(rgb, missing, window):
    """A window that may reach beyond the photo, with nothing missing but in its centre.

    Beyond the photo it is continued by the mirror image; there, and around the centre,
    what is missing takes the mean colour of the window's known pixels.

    Returns:
      (rgb [L, L, 3], missing [L, L]).
    """
    top, left, side = window
    rows, columns = (
        _mirrored(np.arange(start, start + side), length)
        for start, length in zip((top, left), rgb.shape[:2], strict=True)
    )
    part, hole = rgb[rows][:, columns], missing[rows][:, columns]
    centre = np.zeros_like(hole)
    quarter = side // 4
    centre[quarter : side - quarter, quarter : side - quarter] = True
    known = ~hole
    mean = part[known].mean(axis=0) if known.any() else 128
    part[hole & ~centre] = np.round(mean).astype(np.uint8)
    return part, hole & centre


def _mirrored(places, length):
    """Places beyond 0..length - 1 -> those whose mirror images lie there."""
    period = max(2 * (length - 1), 1)
    places = places % period
    return np.minimum(places, period - places) % length


def _tensors(rgb, missing):
    """Image float32 [1, H, W, 3] in [-1, 1] and mask float32 [1, H, W, 1]."""
    image = images.to_float(rgb[np.newaxis])
    return image, tf.cast(missing[np.newaxis, ..., np.newaxis], tf.float32)


# ---------------------------------------------------------------- arrays


def _checked(photo, mask):
    """(rgb, missing) of arrays that a user gave."""
    photo, mask = np.asarray(photo), np.asarray(mask)
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[-1] != 3:
        raise ValueError(
            f"photo: {photo.dtype} of shape {photo.shape}; must be uint8 [height, "
            f"width, 3], red, green, blue in 0..255{_remedy(photo)}"
        )
    if mask.shape == (*photo.shape[:2], 1):
        mask = mask[..., 0]
    if mask.shape != photo.shape[:2]:
        raise ValueError(
            f"mask: of shape {mask.shape}; must be {photo.shape[:2]} as the photo's "
            "height and width, or the same with 1 at the end"
        )
    values = set(np.unique(mask).tolist())
    if not (values <= {0, 1} or values <= {0, 255}):
        strange = next(
            v for v in values if v not in ({0, 1} if 1 in values else {0, 255})
        )
        raise ValueError(
            "mask: must be False and True, 0 and 1, or 0 and 255 (missing) alone; holds "
            f"{strange} too"
        )
    missing = mask > 0
    if not missing.any() or missing.all():
        raise ValueError(
            "mask: must have a missing pixel (True, 1 or 255) and a known one (0)"
        )
    return photo, missing


def _remedy(photo):
    """What makes a photo of a usual other kind one that is taken, or ""."""
    if photo.ndim == 4 and len(photo) == 1:
        return "; give photo[0]"
    if photo.ndim == 2:
        return "; of a grey photo give np.stack([photo] * 3, -1)"
    if photo.ndim == 3 and photo.shape[-1] == 4:
        return "; give photo[..., :3]"
    if photo.ndim == 3 and np.issubdtype(photo.dtype, np.floating) and photo.size:
        low, high = photo.min(), photo.max()
        if 0 <= low and high <= 1:
            return "; of levels in 0..1 give np.uint8(np.round(255 * photo))"
        if -1 <= low and high <= 1:
            return "; of levels in -1..1 give np.uint8(np.round(127.5 * (photo + 1)))"
    if photo.ndim == 3 and photo.dtype.kind in "iuf" and photo.size:
        return f"; its levels are {photo.min():g}..{photo.max():g}"
    return ""
