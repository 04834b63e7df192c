"""All metrics by name, each with its formula, unit and source, and their hash.

A protocol records the hash of the metrics that it names, so that a number in a table says
by which formulas it was measured. The formulas side by side: docs/metrics.md.
"""

import dataclasses
import hashlib
from collections.abc import Callable

from inpainting_tf import metrics, published_metrics


@dataclasses.dataclass(frozen=True)
class Metric:
    """What a number in a table is.

    Attributes:
      function: (image, completed, mask) -> float32 [B].
      formula: one line of ASCII. x is the image and y the completed image, both in
        levels 0..255; M the mask; n the number of values, m = 3 sum(M) that of missing
        values, at least 3.
      unit: "share" (of the range 0..1), "%", "dB", "levels" or "" (a pure number).
      better: "higher" or "lower".
      source: where the definition comes from.
      version: raised when the same formula is computed differently.
    """

    function: Callable
    formula: str
    unit: str
    better: str
    source: str
    version: int = 1


_SSIM_MAP = (
    "S = (2 ux uy + c1) (2 sxy + c2) / ((ux^2 + uy^2 + c1) (sxx + syy + c2)), "
    "c1 = 2.55^2, c2 = 7.65^2, 11x11 Gaussian of sigma 1.5"
)
_MS_SSIM = (
    "mean over channels of prod_j mean(T_j)^(w_j / sum w), T_j the second factor of S at "
    "scale j (2x2 means), S at the coarsest, w = 0.0448 0.2856 0.3001 0.2363 0.1333, as "
    "many scales as leave 11 pixels: 5 from 161, 4 from 81, 3 from 41, 2 from 21"
)

METRICS = {
    "l1": Metric(metrics.l1, "sum |x - y| / (255 n)", "share", "lower", "standard"),
    "l2": Metric(metrics.l2, "sum (x - y)^2 / (255^2 n)", "share", "lower", "standard"),
    "psnr": Metric(
        metrics.psnr,
        "10 log10(255^2 / max(sum (x - y)^2 / n, 1 / n))",
        "dB",
        "higher",
        "standard; MMagic's PSNR",
    ),
    "ssim": Metric(
        metrics.ssim,
        f"mean over windows inside the image and channels of {_SSIM_MAP}",
        "",
        "higher",
        "Wang et al. 2004; MMagic's SSIM",
    ),
    "ms_ssim": Metric(
        metrics.ms_ssim,
        f"{_MS_SSIM}; windows inside the image",
        "",
        "higher",
        "Wang, Simoncelli, Bovik 2003",
    ),
    "tv": Metric(
        metrics.tv,
        "(sum |y[i+1,j] - y[i,j]| + sum |y[i,j+1] - y[i,j]|) / (255 n)",
        "share",
        "lower",
        "Rudin, Osher, Fatemi 1992, anisotropic",
    ),
    "hole_l1": Metric(
        metrics.hole_l1,
        "sum M |x - y| / (255 m)",
        "share",
        "lower",
        "standard, on the hole",
    ),
    "hole_l2": Metric(
        metrics.hole_l2,
        "sum M (x - y)^2 / (255^2 m)",
        "share",
        "lower",
        "standard, on the hole",
    ),
    "hole_psnr": Metric(
        metrics.hole_psnr,
        "10 log10(255^2 / max(sum M (x - y)^2 / m, 1 / m))",
        "dB",
        "higher",
        "standard, on the hole; Pathak et al. 2016",
    ),
    "hole_ssim": Metric(
        metrics.hole_ssim,
        f"sum M S / m, image mirrored at its border, {_SSIM_MAP}",
        "",
        "higher",
        "Wang et al. 2004, on the hole",
    ),
    "hole_ms_ssim": Metric(
        metrics.hole_ms_ssim,
        f"{_MS_SSIM}; means over missing pixels (of a coarser scale: any of 2x2), image "
        "mirrored at its border",
        "",
        "higher",
        "Wang, Simoncelli, Bovik 2003, on the hole",
    ),
    "hole_tv": Metric(
        metrics.hole_tv,
        "(sum |y[i+1,j] - y[i,j]| + sum |y[i,j+1] - y[i,j]|) / (255 m), pairs with a "
        "missing pixel",
        "share",
        "lower",
        "Rudin, Osher, Fatemi 1992, anisotropic, on the hole",
    ),
    "giica_l1": Metric(
        published_metrics.giica_l1,
        "100 sum |x - y| / max(sum x, 1)",
        "%",
        "lower",
        "Yu et al. 2018, by issue 146 of JiahuiYu/generative_inpainting",
    ),
    "giica_l2": Metric(
        published_metrics.giica_l2,
        "100 sum (x - y)^2 / max(sum x^2, 1)",
        "%",
        "lower",
        "Yu et al. 2018, by issue 146 of JiahuiYu/generative_inpainting",
    ),
    "context_encoder_l1": Metric(
        published_metrics.context_encoder_l1,
        "100 sum M |x - y| / (255 m)",
        "%",
        "lower",
        "Pathak et al. 2016, table 1",
    ),
    "context_encoder_l2": Metric(
        published_metrics.context_encoder_l2,
        "100 sum M (x - y)^2 / (255^2 m)",
        "%",
        "lower",
        "Pathak et al. 2016, table 1",
    ),
    "mmagic_masked_l1": Metric(
        published_metrics.mmagic_masked_l1,
        "100 sum M |x - y| / (255 m)",
        "%",
        "lower",
        "MMagic 1.x, MAE(mask_key='mask', scaling=100)",
    ),
    "siidgm_psnr": Metric(
        published_metrics.siidgm_psnr,
        "10 log10(1 / max(sum (x / max(x) - y / max(y))^2 / n, 1 / (255^2 n)))",
        "dB",
        "higher",
        "Yeh et al. 2017, by imgsnr.py of moodoki/semantic_image_inpainting",
    ),
    "edgeconnect_mae": Metric(
        published_metrics.edgeconnect_mae,
        "sum |x - y| / max(sum (x + y), 1)",
        "share",
        "lower",
        "Nazeri et al. 2019, compare_mae of its program",
    ),
    "picnet_l1": Metric(
        published_metrics.picnet_l1,
        "sum |x - y| / n",
        "levels",
        "lower",
        "Zheng et al. 2019, util/evaluation.py of its program",
    ),
    "picnet_tv": Metric(
        published_metrics.picnet_tv,
        "sum sqrt((y[i,j] - y[i,j+1])^2 + (y[i,j] - y[i+1,j])^2) / n, indices wrap",
        "levels",
        "lower",
        "Zheng et al. 2019, util/evaluation.py of its program",
    ),
    "lama_ssim": Metric(
        published_metrics.lama_ssim,
        f"mean over all pixels and channels, black outside the image, of {_SSIM_MAP}",
        "",
        "higher",
        "Suvorov et al. 2022, evaluation/losses/ssim.py of its program",
    ),
}


def definition_hash(names):
    """Fingerprint of metric definitions, for a protocol to record.

    Args:
      names: keys of `METRICS`, in any order.

    Returns:
      str, 64 hexadecimal digits; another one after any change of a name, formula, unit
      or version.

    Raises:
      ValueError: a name that is not in `METRICS`.
    """
    names = sorted(set(names))
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(
            f"unknown metric {', '.join(unknown)}; known are {', '.join(METRICS)}"
        )
    lines = (
        f"{name} {METRICS[name].version} {METRICS[name].formula} [{METRICS[name].unit}]\n"
        for name in names
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
