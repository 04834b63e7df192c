"""Completing whole collections by a SavedModel, on one machine or on many.

`work.py` is what is done to a picture, and knows no engine; `storage.py` is where files
lie, here or on any file system that Apache Beam knows; `pipeline.py` is the Beam
pipeline that `complete_collection.py` runs. The last two need the extra `beam`.
"""
