"""A web page to complete photos on: open, paint the hole, look, download.

demo.py -> server -> page -> events -> strokes, pictures, attention, results
             ^ kept: finished pictures, in memory until they are downloaded
"""
