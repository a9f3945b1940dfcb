"""What tasks travel through: the interchange (broker), the managers, and their workers.

    user's process --unix socket--> interchange --unix socket or zmq--> manager --socket, shared page--> worker

A worker imports this room and nothing else of the project.
"""
