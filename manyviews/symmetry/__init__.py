"""Published equivariant and invariant layers, networks and wrappers, one file each.

A file here may be an encoder: then it says MODALITY and has functions `NAME(channels, size[, form]) -> Encoder`, as the files of `backbones/` do. Its
equivariant layers have `in_rep` and `out_rep`, and `layers()` gives small ones of every kind, ready to be tried by `manyviews.groups.check_layer`.
"""
