"""Ready-made configurations: `from parsl_pool.configs.htex_local import config`.

A Config serves one pool, so each such import gives a new one.
"""
