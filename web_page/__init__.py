"""A web page to complete photos on: open, paint the hole, look, download.

demo.py -> server -> page -> events -> job -> attention, results
                                    -> strokes, pictures
           kept: photos and finished pictures, in memory, for half an hour at most
"""
