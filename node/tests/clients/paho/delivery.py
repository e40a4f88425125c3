"""Messages arrive: every QoS, every version, every payload, in order, once."""

from client import V311, V5


def _each_qos(run, version):
    subscriber = run.client("in", version=version)
    for granted in (0, 1, 2):
        name = run.topic(f"granted/{granted}")
        assert subscriber.subscribe(name, qos=granted) == [granted]
    publisher = run.client("out", version=version)
    for granted in (0, 1, 2):
        for sent in (0, 1, 2):
            publisher.publish(run.topic(f"granted/{granted}"), f"{sent}", qos=sent)
            message = subscriber.next()
            assert message.topic == run.topic(f"granted/{granted}")
            assert message.payload == b"%d" % sent
            assert message.qos == min(sent, granted), (sent, granted, message.qos)
            assert not message.dup and not message.retain
    assert subscriber.messages.empty()


def mqtt_5_carries_every_qos_both_ways(run):
    _each_qos(run, V5)


def mqtt_311_carries_every_qos_both_ways(run):
    _each_qos(run, V311)


def versions_hear_each_other(run):
    old, new = run.client(version=V311), run.client(version=V5)
    for client in (old, new):
        client.subscribe(run.topic("#"), qos=2)
    old.publish(run.topic("from-old"), "old", qos=2)
    new.publish(run.topic("from-new"), "new", qos=2, ContentType="text/plain", UserProperty=[("a", "b")])
    for client in (old, new):
        assert sorted(client.payloads(2)) == ["new", "old"]


def a_publisher_s_order_holds_at_every_qos(run):
    count = 500
    subscriber = run.client("in")
    subscriber.subscribe(run.topic("+"), qos=2)
    publisher = run.client("out")
    for qos in (0, 1, 2):
        sent = [publisher.send(run.topic(f"{qos}"), f"{n}", qos=qos) for n in range(count)]
        if qos:
            assert {publisher.answer("published", mid).value for mid in sent} == {0}
        assert subscriber.payloads(count) == [f"{n}" for n in range(count)], f"QoS {qos}"
    assert subscriber.messages.empty()


def large_payloads_arrive_whole(run):
    payload = bytes(n * 7 % 251 for n in range(900 * 1024))
    subscriber = run.client()
    subscriber.subscribe(run.topic("large"), qos=2)
    publisher = run.client()
    for qos in (0, 1, 2):
        publisher.publish(run.topic("large"), payload, qos=qos)
        assert subscriber.next().payload == payload, f"QoS {qos}"


def payloads_are_bytes_of_any_kind(run):
    subscriber = run.client()
    subscriber.subscribe(run.topic("bytes"), qos=1)
    publisher = run.client()
    for payload in (b"", b"\x00", bytes(range(256)), b"\xff\xfe\xc0\xaf"):
        publisher.publish(run.topic("bytes"), payload, qos=1)
        assert subscriber.next().payload == payload


def topics_may_have_128_levels_and_no_more(run):
    deepest, deeper = "/".join("x" * 127), "/".join("x" * 128)
    subscriber = run.client()
    assert subscriber.subscribe(run.topic(deepest), run.topic("#"), qos=1) == [1, 1]
    assert subscriber.subscribe(run.topic(deeper)) == [0x8F]
    publisher = run.client()
    publisher.publish(run.topic(deepest), "deep", qos=1)
    assert subscriber.next().topic == run.topic(deepest)
    publisher.send(run.topic(deeper), "too deep", qos=1)
    assert publisher.ended()[0] == 0x90


def topics_are_unicode(run):
    subscriber = run.client()
    names = ["température/salle", "温度/部屋", "🌡/🏠", "a b/ c", "/", "//", "x/", "\u00e9\u0065\u0301"]
    for name in names:
        subscriber.subscribe(run.topic(name), qos=1)
    publisher = run.client()
    for name in names:
        publisher.publish(run.topic(name), name, qos=1)
        message = subscriber.next()
        assert message.topic == run.topic(name) and message.payload.decode() == name
    assert subscriber.messages.empty()


def wildcards_match_as_the_standard_says(run):
    subscriber = run.client("in")
    matching = {
        "a/+/c": ["a/b/c", "a//c"],
        "a/#": ["a", "a/b", "a/b/c", "a//c"],
        "+": ["a", ""],
        "+/+": ["a/b", "/b", "/"],
        "+/b/#": ["a/b", "a/b/c", "/b"],
    }
    topics = ["a", "", "a/b", "/b", "/", "a/b/c", "a//c", "b/c/d/e"]
    publisher = run.client("out")
    for pattern, expected in matching.items():
        subscriber.subscribe(run.topic(pattern))
        subscriber.subscribe(run.topic("end/of/it/all"))
        for name in topics + ["end/of/it/all"]:
            publisher.publish(run.topic(name), name, qos=1)
        got = [message.payload.decode() for message in subscriber.until("end/of/it/all")]
        assert got == [name for name in topics if name in expected], (pattern, got)
        subscriber.unsubscribe(run.topic(pattern))


def overlapping_filters_deliver_once(run):
    for version in (V311, V5):
        subscriber = run.client(version=version)
        subscriber.subscribe(run.topic("a/#"), qos=0)
        subscriber.subscribe(run.topic("a/+"), run.topic("end"), qos=2)
        subscriber.subscribe(run.topic("a/b"), qos=1)
        publisher = run.client(version=version)
        publisher.publish(run.topic("a/b"), "once", qos=2)
        # QoS 2 too: paho hands such messages on at PUBREL, so others would overtake.
        publisher.publish(run.topic("end"), "end", qos=2)
        before = subscriber.until("end")
        assert [(m.payload, m.qos) for m in before] == [(b"once", 2)], (version, before)


def unsubscribing_ends_delivery_and_says_what_was_there(run):
    client = run.client()
    client.subscribe(run.topic("a"), run.topic("end"))
    codes = client.unsubscribe(run.topic("a"), run.topic("never"), run.topic("a"))
    assert codes == [0, 0x11, 0x11], codes
    client.publish(run.topic("a"), "a", qos=1)
    client.publish(run.topic("end"), "end", qos=1)
    assert client.until("end") == []


def an_acknowledgement_says_whether_anybody_heard(run):
    # At QoS 2 paho tells the code of PUBCOMP; that of PUBREC is a check of mqtt.js.
    publisher, subscriber = run.client(), run.client()
    assert publisher.publish(run.topic("heard"), "", qos=1) == 0x10
    subscriber.subscribe(run.topic("heard"))
    assert publisher.publish(run.topic("heard"), "", qos=1) == 0
    subscriber.unsubscribe(run.topic("heard"))
    assert publisher.publish(run.topic("heard"), "", qos=1) == 0x10


def filters_that_are_none_are_refused_one_by_one(run):
    client = run.client()
    bad = ["a/#/b", "a+", "#a", "$share/group", "$share//a", "$share/g+/a"]
    wanted = [run.topic("good/#"), *bad, run.topic("+")]
    assert client.subscribe_unchecked(wanted, qos=1) == [1, *[0x8F] * len(bad), 1]
    assert run.client(version=V311).subscribe(run.topic("good")) == [0]
