"""Files of Globus: transfers between two endpoints, which this process asks for and waits for.

GlobusStaging (provider) ─► Move ─► Mover, one thread ─► Service ─► globus_sdk ─► Globus
                                               └── what Globus says of it (answers) ─► the Move's future
"""
