"""Every method by its name on the command line.

A method's parameters are the keyword arguments of its class; the programs offer each
as a flag of the same name.
"""

from baselines.context_encoder import ContextEncoder
from baselines.dcgan import DCGAN
from baselines.giica import GIICA
from baselines.glcic import GLCIC
from baselines.siidgm import SIIDGM
from inpainting_tf.parallel_attention import ParallelAttention
from inpainting_tf.symmetric_search import SymmetricSearch

# Trained by train.py; dcgan completes nothing itself, the searches search it.
METHODS = {
    "parallel_attention": ParallelAttention,
    "context_encoder": ContextEncoder,
    "glcic": GLCIC,
    "giica": GIICA,
    "dcgan": DCGAN,
}

# Searches of a trained dcgan, run by search.py.
SEARCHES = {
    "siidgm": SIIDGM,
    "symmetric_search": SymmetricSearch,
}
