"""Runs checks of paho-mqtt against a node: `run.py --url tcp=mqtt://HOST:PORT .. CHECK ..`, or `all`.

A check is a function of the modules below; it is given a `Run`: one transport, and names of its own.
All transports of a check run at once. The exit code is the number of failures.
"""

import argparse
import inspect
import sys
import threading
import time
import traceback
import uuid
from urllib.parse import urlparse

import delivery
import limits
import properties
import retained
import sessions
import shared
import system
import wills

from client import DEADLINE_SECONDS, Client

MODULES = (delivery, properties, sessions, retained, shared, wills, limits, system)


class Run:
    """One check over one transport."""

    def __init__(self, check, transport, url, arguments, barrier):
        self.check, self.transport, self.barrier = check, transport, barrier
        place = urlparse(url)
        self.host, self.port = place.hostname, place.port
        self.tls, self.websocket = place.scheme in ("mqtts", "wss"), place.scheme in ("ws", "wss")
        self.ca, self.pid = arguments.ca, arguments.pid
        self.prefix = f"{transport}-{uuid.uuid4().hex[:8]}"
        self.clients, self.failure = [], None

    def name(self, text):
        """A client id nobody else has."""
        return f"{self.prefix}-{text}" if text != "" else ""

    def topic(self, text):
        """A topic or filter below this run's own level."""
        return f"{self.prefix}/{text}"

    def client(self, name=None, **options):
        """A connected client."""
        return Client(self, name, **options).connect()

    def offline(self, name=None, **options):
        """A client that has not connected yet."""
        return Client(self, name, **options)

    def let_pass(self, seconds):
        """Lets so much of a lifetime pass: what the broker's clock does is what is checked."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(left)

    def eventually(self, what, look):
        """Looks until `look` finds something."""
        end = time.monotonic() + DEADLINE_SECONDS
        while (found := look()) is None:
            if time.monotonic() > end:
                raise TimeoutError(f"waited in vain for {what}")
            time.sleep(0.005)
        return found

    def opened(self, client):
        self.clients.append(client)

    def go(self):
        try:
            CHECKS[self.check](self)
        except BaseException:  # A failed check of one transport does not end the others.
            self.failure = traceback.format_exc()
            self.barrier.abort()
        finally:
            for client in self.clients:
                client.paho.disconnect()
                client.paho.loop_stop()


def checks_of(module):
    functions = inspect.getmembers(module, inspect.isfunction)
    return {name: f for name, f in functions if f.__module__ == module.__name__ and not name.startswith("_")}


CHECKS = {name: check for module in MODULES for name, check in checks_of(module).items()}


def run(check, urls, arguments):
    """The failures of one check, by transport."""
    barrier = threading.Barrier(len(urls))
    runs = [Run(check, transport, url, arguments, barrier) for transport, url in urls]
    threads = [threading.Thread(target=one.go) for one in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for one in runs if one.failure]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", action="append", default=[], help="TRANSPORT=URL, as often as wanted")
    parser.add_argument("--ca", help="PEM file with the authority of the TLS listeners")
    parser.add_argument("--pid", type=int, help="the process of the node")
    parser.add_argument("--list", action="store_true", help="print the names of all checks")
    parser.add_argument("checks", nargs="*")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CHECKS))
        return 0
    urls = [tuple(url.split("=", 1)) for url in arguments.url]
    failed = 0
    for check in CHECKS if arguments.checks == ["all"] else arguments.checks:
        failures = run(check, urls, arguments)
        failed += len(failures)
        for one in failures:
            print(f"{check} over {one.transport} failed:\n{one.failure}")
        if not failures:
            print(f"{check}: ok over {', '.join(transport for transport, _ in urls)}")
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
