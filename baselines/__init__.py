"""The systems that the paper stands on, under the same contract as `inpainting_tf`."""
