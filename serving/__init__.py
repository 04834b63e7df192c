"""TF Serving's configuration for the exported models, and a client for them.

`compose.yaml` starts TF Serving with `models.config` (models, versions, labels),
`batching.config` (how many pictures at a time) and `monitoring.config` (Prometheus);
`python -m serving.client photo.jpg mask.png --model=glcic` completes a photo.
"""
