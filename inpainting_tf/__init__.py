"""GAN image inpainting in TensorFlow: data, masks, networks, training, measuring.

The contract: `image` float32 [B, H, W, 3] in [-1, 1], `mask` float32 [B, H, W, 1] with
1 = missing, one mask per example; a method is any `inpaint(image, mask) -> completed`
that leaves known pixels untouched.
"""

__version__ = "0.1.0"
