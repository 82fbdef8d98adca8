"""Where drafts come from, without a draft model: the row's own text, finished answers, the grammar; no vLLM.

the row's prompt and answer so far ─► ngram.py        what followed the same few tokens before
finished answers of the query ──────► suffix_tree.py  what followed the same tokens in other rows
"""
