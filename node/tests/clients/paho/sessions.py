"""Sessions: kept or clean, resumed in order, taken over, expired."""

from client import V311, V5

_KEPT = {"clean": False, "SessionExpiryInterval": 600}


def _offline_queue(run, options, version):
    sleeper = run.client("sleeper", version=version, **options)
    assert not sleeper.session_present
    sleeper.subscribe(run.topic("+"), qos=2)
    sleeper.disconnect()
    publisher = run.client(version=version)
    for n in range(200):
        publisher.publish(run.topic("a"), f"{n}", qos=n % 2 + 1)
    publisher.publish(run.topic("b"), "not kept", qos=0)
    sleeper.connect()
    assert sleeper.session_present
    for qos in (1, 2):
        publisher.publish(run.topic("b"), f"live {qos}", qos=qos)
    got = {1: [], 2: []}
    while sum(map(len, got.values())) < 202:
        message = sleeper.next()
        got[message.qos].append(message.payload.decode())
    # Order is promised per QoS; paho hands QoS 2 on at PUBREL.
    for qos in (1, 2):
        assert got[qos] == [f"{n}" for n in range(qos - 1, 200, 2)] + [f"live {qos}"], (qos, got[qos])
    assert sleeper.messages.empty()


def mqtt_5_sessions_keep_what_comes_while_away_in_order(run):
    _offline_queue(run, _KEPT, V5)


def mqtt_311_sessions_keep_what_comes_while_away_in_order(run):
    _offline_queue(run, {"clean": False}, V311)


def a_dropped_connection_leaves_the_session(run):
    for version, options in ((V5, _KEPT), (V311, {"clean": False})):
        client = run.client(f"client-{version}", version=version, **options)
        client.subscribe(run.topic(f"a/{version}"), qos=1)
        client.drop()
        run.client().publish(run.topic(f"a/{version}"), "while away", qos=1)
        client.connect()
        assert client.session_present
        assert client.payloads(1) == ["while away"]


def a_clean_start_forgets_the_session(run):
    for version, options in ((V5, _KEPT), (V311, {"clean": False})):
        client = run.client(f"client-{version}", version=version, **options)
        client.subscribe(run.topic("a"), qos=1)
        client.disconnect()
        publisher = run.client()
        publisher.publish(run.topic("a"), "forgotten", qos=1)
        client.clean = True
        client.connect()
        assert not client.session_present
        client.subscribe(run.topic("end"), qos=1)
        publisher.publish(run.topic("a"), "not subscribed", qos=1)
        publisher.publish(run.topic("end"), "end", qos=1)
        assert client.until("end") == []
        client.disconnect()


def a_session_without_expiry_ends_with_its_connection(run):
    client = run.client("client", clean=False)
    client.subscribe(run.topic("a"), qos=1)
    client.disconnect()
    assert not client.connect().session_present


def a_session_ends_when_its_expiry_has_passed(run):
    client = run.client("client", clean=False, SessionExpiryInterval=1)
    client.subscribe(run.topic("a"), qos=1)
    client.disconnect()
    run.let_pass(3)
    assert not client.connect().session_present
    client.connect_properties["SessionExpiryInterval"] = 0xFFFFFFFF
    client.disconnect()
    client.connect()
    client.disconnect()
    assert client.connect().session_present


def disconnect_may_change_the_expiry(run):
    client = run.client("client", **_KEPT)
    client.disconnect(SessionExpiryInterval=0)
    assert not client.connect().session_present
    client.disconnect(SessionExpiryInterval=1200)
    assert client.connect().session_present


def what_was_not_acknowledged_comes_again_marked_dup(run):
    for version, options in ((V5, _KEPT), (V311, {"clean": False})):
        client = run.client(f"client-{version}", version=version, manual_ack=True, **options)
        client.subscribe(run.topic("a"), qos=1)
        publisher = run.client()
        for n in range(5):
            publisher.publish(run.topic("a"), f"{n}", qos=1)
        first = [client.next() for _ in range(5)]
        assert not any(message.dup for message in first)
        for message in first[:2]:
            client.paho.ack(message.mid, 1)
        # The answer to this comes after the acknowledgements were taken.
        client.subscribe(run.topic("other"), qos=1)
        client.drop()
        client.connect()
        again = [client.next() for _ in range(3)]
        assert [(m.payload, m.mid, m.dup) for m in again] == [(m.payload, m.mid, True) for m in first[2:]]
        client.disconnect()


def a_resumed_session_keeps_its_subscriptions_and_their_options(run):
    client = run.client("client", **_KEPT)
    client.subscribe(run.topic("+"), qos=1, id=9, noLocal=True, retainAsPublished=True)
    client.disconnect()
    client.connect()
    client.publish(run.topic("a"), "own", qos=1)
    run.client().publish(run.topic("a"), "kept", qos=1, retain=True)
    message = client.next()
    assert (message.payload, message.retain) == (b"kept", True)
    assert message.properties.SubscriptionIdentifier == [9]


def unsubscribed_from_a_kept_session_stays_unsubscribed(run):
    client = run.client("client", **_KEPT)
    client.subscribe(run.topic("a"), run.topic("b"), qos=1)
    client.unsubscribe(run.topic("a"))
    client.disconnect()
    publisher = run.client()
    publisher.publish(run.topic("a"), "a", qos=1)
    publisher.publish(run.topic("b"), "b", qos=1)
    client.connect()
    assert client.until("b") == []


def the_newest_connection_of_a_client_id_wins(run):
    old = run.client("twice", **_KEPT)
    old.subscribe(run.topic("a"), qos=1)
    new = run.client("twice", **_KEPT)
    assert old.ended()[0] == 0x8E
    assert new.session_present
    run.client().publish(run.topic("a"), "to the new one", qos=1)
    assert new.payloads(1) == ["to the new one"]
    assert old.messages.empty()


def an_old_client_is_taken_over_without_a_word(run):
    old = run.client("twice", version=V311, clean=False)
    old.subscribe(run.topic("a"), qos=1)
    new = run.client("twice", version=V311, clean=False)
    # 0x80 is what paho makes of an end without DISCONNECT.
    assert old.ended()[0] == 0x80
    assert new.session_present
    run.client().publish(run.topic("a"), "to the new one", qos=1)
    assert new.payloads(1) == ["to the new one"]


def a_session_crosses_from_mqtt_311_to_5_and_back(run):
    client = run.client("client", version=V311, clean=False)
    client.subscribe(run.topic("a"), qos=1)
    client.disconnect()
    later = run.client("client", **_KEPT)
    assert later.session_present
    run.client().publish(run.topic("a"), "to five", qos=1, ContentType="text/plain")
    assert later.payloads(1) == ["to five"]
    later.disconnect()
    run.client().publish(run.topic("a"), "to three", qos=1, ContentType="text/plain")
    client.connect()
    assert client.session_present
    assert client.payloads(1) == ["to three"]


def a_client_without_id_is_given_one(run):
    first, second = run.client(""), run.client("")
    assert first.connack.AssignedClientIdentifier != second.connack.AssignedClientIdentifier
    third = run.client("named")
    assert not hasattr(third.connack, "AssignedClientIdentifier")
    old = run.client("", version=V311)
    old.subscribe(run.topic("a"))
    run.client().publish(run.topic("a"), "heard", qos=1)
    assert old.payloads(1) == ["heard"]
