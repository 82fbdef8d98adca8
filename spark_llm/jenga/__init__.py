"""Jenga: one pool of KV memory for layers of different shapes (arXiv 2503.18292); pure, no vLLM.

config.json ─► hf_config ─► specs    KVSpec per layer type: layers, bytes per token or state, window
                              │
                            pages    PagePlan: a small page per type; the large page is their LCM
   large pages (one size)     ▼
  ┌────────────┬────────────┬────────────┐
  │ A A A A    │ B   B      │  empty     │   pool: a large page holds small pages of one type, mostly of
  │ row 7      │ row 7      │            │   one row (association), and returns when all of them are empty
  └────────────┴────────────┴────────────┘
     ▲ which pages a row needs now, which prefixes hit, what leaves first: layers (LayerPolicy)
RowOrder ─► junctions: where prefixes branch, how many rows still use each ─► replay: hit tokens
waste, rows, command: `spark-llm memory`, bytes per request under each layout; simulate: throughput
"""
