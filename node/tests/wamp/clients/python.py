"""What autobahn-python, which looks at every message it is sent, sees of a router.

Arguments: a serialization, and URLs, ws:// or rs://, each also with TLS. Whatever it takes for a breach of the protocol
ends its session, and the check with it.
"""

import asyncio
import os
import ssl
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession
from autobahn.wamp import serializer as serializers
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import CallOptions, EventDetails, PublishOptions, RegisterOptions, SubscribeOptions

SERIALIZERS = {
    "json": serializers.JsonSerializer,
    "msgpack": serializers.MsgPackSerializer,
    "cbor": serializers.CBORSerializer,
}
PATIENCE_SECONDS = 30


class Client(ApplicationSession):
    """A session that tells how it was welcomed, and that it ended."""

    def __init__(self, config):
        super().__init__(config)
        self.welcomed, self.over = config.extra["welcomed"], False

    def onJoin(self, details):
        self.welcomed.set_result((self, details))

    def onLeave(self, details):
        self.end(f"the session ended: {details}")

    def onDisconnect(self):
        self.end("the connection ended")

    def end(self, why):
        self.over = True
        if not self.welcomed.done():
            self.welcomed.set_exception(RuntimeError(why))


def tls(url):
    if not url.startswith(("wss", "rss")):
        return None
    return ssl.create_default_context(cafile=os.environ["NODE_EXTRA_CA_CERTS"])


async def open_session(url, serialization, make=Client):
    """A session that was welcomed, and what it was told of itself."""
    welcomed = asyncio.get_running_loop().create_future()
    serializer = SERIALIZERS[serialization]()
    runner = ApplicationRunner(url, "default", {"welcomed": welcomed}, serializers=[serializer], ssl=tls(url))
    await runner.run(make, start_loop=False)
    return await asyncio.wait_for(welcomed, PATIENCE_SECONDS)


class Heard:
    """The events of a subscription, in order."""

    def __init__(self):
        self.queue = asyncio.Queue()

    def __call__(self, *args, details=None, **kwargs):
        self.queue.put_nowait((list(args), kwargs, details))

    async def next(self):
        return await asyncio.wait_for(self.queue.get(), PATIENCE_SECONDS)


async def failure(waits):
    try:
        result = await waits
    except ApplicationError as error:
        return error
    raise AssertionError(f"it has a result: {result}")


async def events(one, other):
    """Publish and subscribe with every option there is."""
    with_details = {"details_arg": "details"}
    exact, prefix, wildcard, own, retained = Heard(), Heard(), Heard(), Heard(), Heard()
    subscription = await other.subscribe(exact, "py.app.one", SubscribeOptions(**with_details))
    await other.subscribe(prefix, "py.ap", SubscribeOptions(match="prefix", **with_details))
    await other.subscribe(wildcard, "py..one", SubscribeOptions(match="wildcard", **with_details))
    await one.subscribe(own, "py.app.one", SubscribeOptions(**with_details))
    value = [1, "ä", {"list": [True, None, 1.5], "deep": {"er": -7}}, 2**53]
    acknowledged = PublishOptions(acknowledge=True)
    published = await one.publish("py.app.one", *value, options=acknowledged, key="value")
    for heard in (exact, prefix, wildcard):
        args, kwargs, details = await heard.next()
        assert (args, kwargs) == (value, {"key": "value"}), (args, kwargs)
        assert isinstance(details, EventDetails) and details.topic == "py.app.one", details
        assert details.publication == published.id and details.publisher is None, details

    to_all = PublishOptions(acknowledge=True, exclude_me=False)
    await one.publish("py.app.one", options=to_all)
    args, kwargs, details = await own.next()
    assert (args, kwargs) == ([], {}), (args, kwargs)
    await exact.next()
    chosen = {"acknowledge": True, "exclude_me": False}
    await one.publish("py.app.one", "only", options=PublishOptions(eligible=[other._session_id], **chosen))
    assert (await exact.next())[0] == ["only"]
    await one.publish("py.app.one", "mine", options=PublishOptions(exclude=[other._session_id], **chosen))
    assert (await own.next())[0] == ["mine"]
    await one.publish("py.app.one", "role", options=PublishOptions(eligible_authrole=["nobody"], **chosen))
    await one.publish("py.app.one", "all", options=PublishOptions(**chosen))
    assert (await own.next())[0] == ["all"] and (await exact.next())[0] == ["all"]

    await one.publish("py.kept", "kept", options=PublishOptions(acknowledge=True, retain=True))
    await other.subscribe(retained, "py.kept", SubscribeOptions(get_retained=True, **with_details))
    args, _, details = await retained.next()
    assert args == ["kept"] and details.retained, details

    await subscription.unsubscribe()
    refused = await failure(one.publish("wamp.session.on_join", options=acknowledged))
    assert refused.error == "wamp.error.invalid_uri", refused
    # Without acknowledge nothing is answered, well or not.
    octets = Heard()
    await other.subscribe(octets, "py.octets")
    one.publish("wamp.session.on_join")
    one.publish("py.octets", b"\x00\xff octets")
    assert (await octets.next())[0] == [b"\x00\xff octets"]


async def calls(caller, callee):
    """Arguments, errors, progress, time, cancellation, and who may have a procedure."""
    async def add(a, b, c=0):
        return a + b + c

    async def fails():
        raise ApplicationError("py.error.bad", "why", 1, key=2)

    async def steps(count, details=None):
        for step in range(count):
            details.progress(step, of=count)
        return "done"

    def who(details=None):
        return [details.caller, details.procedure]

    begun, interrupted = Heard(), Heard()

    async def never():
        begun()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            interrupted()

    details = RegisterOptions(details_arg="details")
    await callee.register(add, "py.add")
    await callee.register(fails, "py.fails")
    await callee.register(steps, "py.steps", details)
    await callee.register(who, "py.who", RegisterOptions(match="prefix", details_arg="details"))
    await callee.register(never, "py.never")
    brief = await callee.register(add, "py.brief", RegisterOptions(invoke="roundrobin", concurrency=1))
    assert await caller.call("py.add", 1, 2, c=3) == 6
    failed = await failure(caller.call("py.fails"))
    assert (failed.error, failed.args, failed.kwargs) == ("py.error.bad", ("why", 1), {"key": 2}), failed
    assert (await failure(caller.call("py.nobody"))).error == "wamp.error.no_such_procedure"
    assert (await failure(callee.register(add, "py.add"))).error == "wamp.error.procedure_already_exists"
    seen = []
    progress = CallOptions(on_progress=lambda step, of: seen.append((step, of)))
    assert await caller.call("py.steps", 3, options=progress) == "done"
    assert seen == [(0, 3), (1, 3), (2, 3)], seen
    told = await caller.call("py.who.am.i", options=CallOptions(details=True))
    assert told.results[0][1] == "py.who.am.i", told
    assert (await failure(caller.call("py.never", options=CallOptions(timeout=100)))).error == "wamp.error.timeout"
    await begun.next()
    await interrupted.next()
    waits = caller.call("py.never")
    await begun.next()
    waits.cancel()
    await interrupted.next()
    await brief.unregister()
    assert (await failure(caller.call("py.brief", 1, 1))).error == "wamp.error.no_such_procedure"
    many = await asyncio.gather(*(caller.call("py.add", number, 1) for number in range(200)))
    assert many == list(range(1, 201)), many


async def meta(one, other):
    """What the router says of itself."""
    joins, leaves = Heard(), Heard()
    await one.subscribe(joins, "wamp.session.on_join")
    await one.subscribe(leaves, "wamp.session.on_leave")
    assert await one.call("wamp.session.count") >= 2
    assert other._session_id in await one.call("wamp.session.list")
    assert (await one.call("wamp.session.get", other._session_id))["session"] == other._session_id
    found = await one.call("wamp.registration.lookup", "py.add")
    assert (await one.call("wamp.registration.get", found))["uri"] == "py.add"
    assert await one.call("wamp.registration.count_callees", found) == 1
    assert await one.call("wamp.subscription.match", "wamp.session.on_join")
    await one.call("wamp.session.add_testament", "py.will", ["gone"], {})
    return joins, leaves


async def check(url, serialization):
    one, details = await open_session(url, serialization)
    assert (details.realm, details.authmethod) == ("default", "anonymous"), details
    other, _ = await open_session(url, serialization)
    await events(one, other)
    await calls(one, other)
    joins, leaves = await meta(one, other)
    will = Heard()
    await other.subscribe(will, "py.will")
    third, details = await open_session(url, serialization)
    assert (await joins.next())[0][0]["session"] == details.session
    third.leave()
    assert (await leaves.next())[0][0] == details.session
    assert not one.over and not other.over
    one.leave()
    assert (await will.next())[0] == ["gone"]
    other.leave()


async def main():
    serialization, *urls = sys.argv[1:]
    for url in urls:
        await asyncio.wait_for(check(url, serialization), 3 * PATIENCE_SECONDS)


if __name__ == "__main__":
    asyncio.run(main())
