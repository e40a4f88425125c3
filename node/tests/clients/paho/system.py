"""What the broker itself says and does: `$SYS`, `$delayed`, its end."""

import os
import signal

from client import V311


def sys_topics_are_kept_and_hidden_from_wildcards(run):
    everything = run.client()
    everything.subscribe("#", "+/broker/version", "+/#", qos=1)
    system = run.client()
    system.subscribe("$SYS/broker/version", qos=1)
    version = system.next()
    assert version.payload.startswith(b"weir ") and version.retain
    system.subscribe("$SYS/#")
    while (uptime := system.next()).topic != "$SYS/broker/uptime":
        pass
    assert uptime.retain and uptime.payload.endswith(b" seconds")
    # A new round of figures, and then a message of this run: nothing of `$SYS` before it.
    while system.next().retain:
        pass
    everything.publish(run.topic("end"), run.prefix, qos=1)
    assert all(not message.topic.startswith("$") for message in everything.until(run.prefix))


def nobody_else_publishes_below_sys(run):
    client = run.client()
    client.subscribe("$SYS/#", retainHandling=2)
    assert client.publish(f"$SYS/{run.prefix}", "mine", qos=1) >= 0x80
    client.subscribe(run.topic("end"))
    client.publish(run.topic("end"), "end", qos=1)
    assert all(run.prefix not in message.topic for message in client.until("end"))


def delayed_messages_come_when_they_are_due(run):
    subscriber, everything = run.client(), run.client()
    subscriber.subscribe(run.topic("a"), run.topic("end"), qos=2)
    everything.subscribe("$delayed/#", qos=2)
    for version in (V311, 5):
        publisher = run.client(version=version)
        for qos in (0, 1, 2):
            publisher.publish(f"$delayed/2/{run.topic('a')}", f"late {qos}", qos=qos)
        publisher.publish(run.topic("end"), "end", qos=1)
        assert subscriber.until("end") == []
        got = sorted((subscriber.next() for _ in range(3)), key=lambda message: message.payload)
        assert [(m.topic, m.payload, m.qos) for m in got] == [
            (run.topic("a"), b"late %d" % qos, qos) for qos in (0, 1, 2)
        ]
    assert everything.messages.empty()


def a_delayed_retained_message_is_kept_when_it_is_due(run):
    publisher, early = run.client(), run.client()
    early.subscribe(run.topic("a"), qos=1)
    publisher.publish(f"$delayed/1/{run.topic('a')}", "kept", qos=1, retain=True, ContentType="t")
    assert early.next().payload == b"kept"
    late = run.client()
    late.subscribe(run.topic("a"), qos=1)
    message = late.next()
    assert (message.payload, message.retain, message.properties.ContentType) == (b"kept", True, "t")


def a_stopping_node_says_goodbye_with_0x8b(run):
    """Ends the node: needs one of its own."""
    new, old = run.client(), run.client(version=V311)
    if run.barrier.wait(30) == 0:
        os.kill(run.pid, signal.SIGTERM)
    assert new.ended()[0] == 0x8B
    assert old.ended()[0] == 0x80
