"""What "the same call" means, which results are known already, and where they outlive the program.

    key_of_call (keys)  ->  MemoTable (table)  ->  loaded checkpoints (checkpoints, store)
                                                  Checkpointer writes new ones
"""
