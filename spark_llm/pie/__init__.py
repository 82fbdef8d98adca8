"""Pie: keys and values that spill to host memory without slowing anything (arXiv 2411.09317).

job and engine ──► decide.py: off, the prefix tier or layer swap, with its numbers (ceiling.py) in words
     │ prefix                              │ layers
     ▼                                     ▼
vllm_tier*.py: blocks not in use go to     vllm_layers*.py: layers of running requests share a few slots
host memory or a file, and come back       │ layout.py: which; rotate.py: copies, over residency.py's states
                                           ▼ stalls, copy time, rows/s per window
     admission.py: blocks that may be used now    controller.py: layers that may be away
simulate.py: the same policy on simulated streams, and rivals.py: others' ways; all pure but vllm_*.py
"""
