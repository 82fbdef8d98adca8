"""Pie: keys and values that spill to host memory without slowing anything (arXiv 2411.09317).

job and engine ──► decide.py: off, the prefix tier or layer swap, with its numbers (ceiling.py) in words
     │ prefix                                    │ layers
     ▼                                           ▼
vllm_tier*.py: blocks not in use go to host  vllm_layers*.py: running requests' layers share few slots (layout.py)
     memory or a file, and come back             │ rotate.py: which copies to start, over residency.py's states
                                                 ▼ stalls, copy time, rows/s per window
             admission.py: blocks that may be used now    controller.py: layers that may be away
simulate.py: the same policy on simulated streams, beside the ways of others (rivals.py); all pure but vllm_*.py
"""
