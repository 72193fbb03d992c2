"""Plan mode: the root fills in a plan, and the engine writes the program from it.

For roots too weak to write the right program themselves, choosing among fixed combinators beats
free code (arXiv 2603.20105). What the root decides is small and typed: the kind of question, words
copied from it, the span that holds a condition. Everything that can be worked out from the
question and the context, code works out.
"""
