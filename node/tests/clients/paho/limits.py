"""Limits told by one side and kept by the other."""

from client import V311


def a_client_s_receive_maximum_bounds_what_is_unanswered(run):
    for options in ({}, {"clean": False, "SessionExpiryInterval": 600}):
        subscriber = run.client(manual_ack=True, ReceiveMaximum=3, **options)
        subscriber.subscribe(run.topic("a"), qos=1)
        subscriber.subscribe(run.topic("zero"), qos=0)
        publisher = run.client()
        for n in range(10):
            publisher.publish(run.topic("a"), f"{n}", qos=1)
        publisher.publish(run.topic("zero"), "sent past the others", qos=1)
        got = subscriber.until("sent past the others")
        assert [message.payload for message in got] == [b"0", b"1", b"2"], (options, got)
        for n in range(10):
            subscriber.paho.ack(got[n].mid, 1)
            if n + 3 < 10:
                got.append(subscriber.next())
        assert [message.payload.decode() for message in got] == [f"{n}" for n in range(10)]
        assert subscriber.messages.empty()
        subscriber.disconnect()


def the_broker_s_receive_maximum_is_told_and_suffices(run):
    subscriber, publisher = run.client(), run.client()
    subscriber.subscribe(run.topic("a"), qos=2)
    window = publisher.connack.ReceiveMaximum
    assert window >= 1
    publisher.paho._max_inflight_messages = window
    sent = [publisher.send(run.topic("a"), f"{n}", qos=2) for n in range(window * 2)]
    assert {publisher.answer("published", mid).value for mid in sent} == {0}
    assert subscriber.payloads(window * 2) == [f"{n}" for n in range(window * 2)]


def what_is_larger_than_a_client_takes_is_not_sent_to_it(run):
    small, any_size = run.client(MaximumPacketSize=300), run.client()
    for client in (small, any_size):
        client.subscribe(run.topic("+"), qos=1)
    publisher = run.client()
    for qos in (0, 1, 2):
        publisher.publish(run.topic("a"), "x" * 400, qos=qos)
        publisher.publish(run.topic("a"), "fits", qos=qos)
        assert small.next().payload == b"fits"
        assert [len(any_size.next().payload) for _ in range(2)] == [400, 4]
    publisher.publish(run.topic("kept"), "x" * 400, qos=1, retain=True)
    small.subscribe(run.topic("kept"), qos=1)
    publisher.publish(run.topic("a"), "end", qos=1)
    assert small.until("end") == []


def what_is_larger_than_the_broker_takes_ends_the_connection_with_0x95(run):
    publisher = run.client()
    most = publisher.connack.MaximumPacketSize
    publisher.send(run.topic("a"), b"x" * most, qos=1)
    assert publisher.ended()[0] == 0x95


def a_granted_limit_stands_in_connack(run):
    told = run.client(SessionExpiryInterval=10).connack
    assert told.TopicAliasMaximum > 0 and told.ReceiveMaximum > 0 and told.MaximumPacketSize > 0
    # Left out = available (MQTT-3.2.2.3).
    for name in ("RetainAvailable", "WildcardSubscriptionAvailable", "SharedSubscriptionAvailable"):
        assert getattr(told, name, 1) == 1, name
    assert getattr(told, "MaximumQoS", 2) == 2
    assert not hasattr(told, "SessionExpiryInterval")


def server_keep_alive_overrides_the_client_s(run):
    """Needs a node with `gateway.keep_alive_seconds_max = 30`."""
    eager = run.offline()
    eager.connect(keep_alive=600)
    assert eager.connack.ServerKeepAlive == 30
    content = run.offline()
    content.connect(keep_alive=20)
    assert not hasattr(content.connack, "ServerKeepAlive")
    old = run.offline(version=V311)
    old.connect(keep_alive=600)
    assert old.connack.json() == {}


def server_session_expiry_overrides_the_client_s(run):
    """Needs a node with `broker.session_expiry_seconds_max = 60`."""
    told = run.client(SessionExpiryInterval=600).connack
    assert told.SessionExpiryInterval == 60
    assert not hasattr(run.client(SessionExpiryInterval=50).connack, "SessionExpiryInterval")


def an_unknown_authentication_method_is_refused_with_0x8c(run):
    client = run.offline(AuthenticationMethod="NOBODY-KNOWS")
    client.connect()
    assert client.reason.value == 0x8C
    assert client.reason.getName() == "Bad authentication method"
    assert client.connack.ReasonString


def a_reason_string_says_what_was_wrong_unless_unwanted(run):
    for wanted in (1, 0):
        client = run.client(RequestProblemInformation=wanted)
        client.send("", "", TopicAlias=1)
        reason, props = client.ended()
        assert reason == 0x82
        assert hasattr(props, "ReasonString") == bool(wanted)
