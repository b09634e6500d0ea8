"""What this package uses of its dependencies beyond their public names, in one place each.

Module paths that move, arguments that are renamed and private names are known here and nowhere
else, so that a new release is met in one module. Each is found by what is there, never by version.

Knows: lm-eval, transformers and PEFT, from inside.
Must not know: any other room.
"""
