"""Checks of streams with paho-mqtt: `streams.py --url tcp=mqtt://HOST:PORT CHECK`.

There is a stream `plant` of what is published below `plant/`.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients" / "paho"))

import run as checks
from client import V311, packet_properties
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.subscribeoptions import SubscribeOptions


def _read(client, qos=1, offset=None):
    """Subscribes to the stream; returns the code."""
    given = {"UserProperty": [("weir-stream-offset", offset)]} if offset else {}
    wanted = [("$stream/plant", SubscribeOptions(qos=qos))]
    _, mid = client.paho.subscribe(wanted, properties=packet_properties(PacketTypes.SUBSCRIBE, **given))
    return client.answer("suback", mid)[0].value


def _publish(run, *payloads):
    publisher = run.client()
    for payload in payloads:
        publisher.publish("plant/a", payload, qos=1)
    publisher.paho.disconnect()


def a_stream_is_read_from_its_beginning_and_on_from_a_position(run):
    _publish(run, "1", "2", "3")
    reader = run.client()
    assert _read(reader, offset="earliest") == 1
    records = [reader.next() for _ in range(3)]
    assert [record.payload.decode() for record in records] == ["1", "2", "3"]
    assert all(record.topic == "plant/a" and record.qos == 1 and not record.retain for record in records)
    told = dict(records[0].properties.UserProperty)
    assert (told["weir-stream"], told["weir-partition"]) == ("plant", "0"), told
    reader.paho.disconnect()
    again = run.client()
    _read(again, offset=told["weir-position"])
    assert again.payloads(2) == ["2", "3"]


def a_kept_session_goes_on_where_it_was(run):
    reader = run.offline("kept", clean=False, SessionExpiryInterval=600).connect()
    assert _read(reader) == 1
    _publish(run, "1", "2")
    assert reader.payloads(2) == ["1", "2"]
    reader.paho.disconnect()
    reader.closed.get(timeout=30)
    _publish(run, "3", "4")
    reader.connect()
    assert reader.session_present
    assert reader.payloads(2) == ["3", "4"]


def an_old_client_reads_a_stream(run):
    reader = run.client(version=V311)
    assert reader.subscribe("$stream/plant", qos=1) == [1]
    _publish(run, "1", "2")
    assert reader.payloads(2) == ["1", "2"]


CHECKS = (
    a_stream_is_read_from_its_beginning_and_on_from_a_position,
    a_kept_session_goes_on_where_it_was,
    an_old_client_reads_a_stream,
)

if __name__ == "__main__":
    checks.CHECKS.clear()
    checks.CHECKS.update({check.__name__: check for check in CHECKS})
    sys.exit(checks.main())
