"""Wills: published when a client is gone without a goodbye, at the time it chose."""

import select

from client import V311, V5, packet_properties
from paho.mqtt.packettypes import PacketTypes

_KEPT = {"clean": False, "SessionExpiryInterval": 600}


def _will(run, qos=1, retain=False, **values):
    props = packet_properties(PacketTypes.WILLMESSAGE, **values)
    return {"topic": run.topic("will"), "payload": "gone", "qos": qos, "retain": retain, "properties": props}


def _plain_will(run):
    return {"topic": run.topic("will"), "payload": "gone", "qos": 1}


def _watcher(run):
    watcher = run.client("watcher")
    watcher.subscribe(run.topic("will"), run.topic("end"), qos=2)
    return watcher


def _nothing_came(run, watcher):
    run.client().publish(run.topic("end"), "end", qos=1)
    found = watcher.until("end")
    assert found == [], [message.payload for message in found]


def a_broken_connection_publishes_the_will(run):
    watcher = _watcher(run)
    for qos in (0, 1, 2):
        values = {"ContentType": "text/plain", "UserProperty": [("a", "1"), ("a", "2")]}
        run.client(will=_will(run, qos, ResponseTopic="r", CorrelationData=b"c", **values)).drop()
        message = watcher.next()
        assert (message.payload, message.qos, message.retain) == (b"gone", qos, False)
        got = message.properties
        assert (got.ContentType, got.UserProperty) == ("text/plain", [("a", "1"), ("a", "2")])
        assert (got.ResponseTopic, got.CorrelationData) == ("r", b"c")
    run.client(version=V311, will=_plain_will(run)).drop()
    assert watcher.next().payload == b"gone"


def a_retained_will_is_kept(run):
    watcher = _watcher(run)
    run.client(will=_will(run, retain=True)).drop()
    assert not watcher.next().retain
    late = run.client()
    late.subscribe(run.topic("will"), qos=1)
    message = late.next()
    assert (message.payload, message.retain) == (b"gone", True)


def a_goodbye_forgets_the_will(run):
    watcher = _watcher(run)
    run.client(will=_will(run)).disconnect()
    run.client(version=V311, will=_plain_will(run)).disconnect()
    _nothing_came(run, watcher)


def a_goodbye_with_0x04_publishes_the_will(run):
    watcher = _watcher(run)
    run.client(will=_will(run)).disconnect(reason=0x04)
    assert watcher.next().payload == b"gone"


def a_taken_over_connection_publishes_its_will(run):
    watcher = _watcher(run)
    for version, options in ((V5, {}), (V311, {"clean": True})):
        will = _will(run) if version == V5 else _plain_will(run)
        name = f"twice-{version}"
        old = run.client(name, version=version, will=will, **options)
        new = run.client(name, version=version, **options)
        old.ended()
        assert watcher.next().payload == b"gone"
        new.disconnect()


def a_delayed_will_comes_when_its_delay_has_passed(run):
    watcher = _watcher(run)
    run.client(will=_will(run, WillDelayInterval=3), **_KEPT).drop()
    _nothing_came(run, watcher)
    assert watcher.next().payload == b"gone"


def resuming_the_session_cancels_a_delayed_will(run):
    watcher = _watcher(run)
    client = run.client("client", will=_will(run, WillDelayInterval=4), **_KEPT)
    client.drop()
    client.will = None
    assert client.connect().session_present
    run.let_pass(5)
    _nothing_came(run, watcher)


def a_delayed_will_comes_at_the_latest_when_the_session_ends(run):
    watcher = _watcher(run)
    run.client(will=_will(run, WillDelayInterval=3600)).drop()
    assert watcher.next().payload == b"gone"
    run.client(will=_will(run, WillDelayInterval=3600), clean=False, SessionExpiryInterval=1).drop()
    assert watcher.next().payload == b"gone"


def a_clean_start_publishes_a_delayed_will_at_once(run):
    watcher = _watcher(run)
    client = run.client("client", will=_will(run, WillDelayInterval=3600), **_KEPT)
    client.drop()
    client.will, client.clean = None, True
    assert not client.connect().session_present
    assert watcher.next().payload == b"gone"


def a_will_has_a_life_of_its_own(run):
    watcher = run.client("watcher", **_KEPT)
    watcher.subscribe(run.topic("will"), qos=1)
    run.client(will=_will(run, MessageExpiryInterval=500)).drop()
    assert 400 < watcher.next().properties.MessageExpiryInterval <= 500


def a_silent_client_is_closed_with_0x8d_and_its_will_published(run):
    watcher = _watcher(run)
    for version in (V5, V311):
        will = _will(run) if version == V5 else _plain_will(run)
        silent = run.offline(version=version, will=will)
        silent.connect(keep_alive=1, threaded=False)
        _read_without_pings(silent.paho)
        assert silent.closed.get(timeout=1)[0].value == (0x8D if version == V5 else 0x80)
        assert watcher.next().payload == b"gone"


def _read_without_pings(client):
    """Reads until the broker closes; paho's own loop would send PINGREQ."""
    while (sock := client.socket()) is not None:
        if not getattr(sock, "pending", lambda: 0)():
            assert select.select([sock], [], [], 30)[0], "the broker did not close"
        client.loop_read()


def a_client_that_pings_stays(run):
    client = run.offline()
    client.connect(keep_alive=3)
    run.let_pass(6)
    client.subscribe(run.topic("a"))
    client.publish(run.topic("a"), "still here", qos=1)
    assert client.payloads(1) == ["still here"]
