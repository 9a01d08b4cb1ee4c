"""The server under test, and names of channels that no other test uses."""

import itertools
import os
import sys

if "POND_SERVER" not in os.environ:
    sys.exit("POND_SERVER is not set: start the tests with ./run ws://127.0.0.1:PORT/api/socket")

SERVER = os.environ["POND_SERVER"]

_numbers = itertools.count(1)


def chat_room() -> str:
    """A channel with presence that no other test has used."""
    return f"/chat/python-{os.getpid()}-{next(_numbers)}"


def plain_room() -> str:
    """A channel without presence that no other test has used."""
    return f"/plain/python-{os.getpid()}-{next(_numbers)}"


def history_room() -> str:
    """A channel with a history that no other test has used."""
    return f"/history/python-{os.getpid()}-{next(_numbers)}"
