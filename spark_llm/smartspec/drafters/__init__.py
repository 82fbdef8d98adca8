"""Where drafts come from, without a draft model: the row's own text, finished answers, the grammar; no vLLM.

the row's grammar ──────────────────► forced.py       what it leaves no choice about, and text that must come
the row's prompt and answer so far ─► ngram.py        what followed the same few tokens before
finished answers of the query ──────► suffix_tree.py  what followed the same tokens in other rows
                                          │
                        acceptance.py     ▼           how often each kind of draft was right
                                      drafts.py       one draft per row out of the three
                                          │ tokens, sources, survival, forced
                                          ▼
                              the engine adapter, cut to the policy's k
"""
