"""The quality tasks: what is asked, over what text, and how an answer is scored.

A task is a module with `items(draw)`, which yields `Item`s that hang on
the draw alone, and `score(item, answer)`, from 0 to 1.

item.py      what a task is made of: `Item`, `Draw`, sizes, halves of a pool
window.py    lines of dated, signed questions, as OOLONG has them
needle.py    S-NIAH: one sentence in a long text
oolong.py    OOLONG trec_coarse: counting over lines that have to be judged; its eleven kinds of
             question are in templates.py
pairs.py     OOLONG-Pairs: pairs of users that meet a condition
code.py      facts of a Python source tree, read from it by source.py
"""
