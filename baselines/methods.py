"""Every trainable method by its name on the command line.

A method's parameters are the keyword arguments of its class; the programs offer each
as a flag of the same name.
"""

from inpainting_tf.parallel_attention import ParallelAttention

METHODS = {
    "parallel_attention": ParallelAttention,
}
