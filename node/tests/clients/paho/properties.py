"""What travels with a message in MQTT 5, and what a subscription asks for."""

from client import V311


def a_message_keeps_its_properties(run):
    subscriber, publisher = run.client(), run.client()
    subscriber.subscribe(run.topic("a"), qos=2)
    user = [("b", "2"), ("a", "1"), ("b", "1"), ("", ""), ("ключ", "значение")]
    for qos in (0, 1, 2):
        publisher.publish(
            run.topic("a"),
            "text",
            qos=qos,
            PayloadFormatIndicator=1,
            ContentType="text/plain; charset=utf-8",
            ResponseTopic=run.topic("answers"),
            CorrelationData=bytes(range(256)),
            UserProperty=user,
        )
        got = subscriber.next().properties
        assert got.PayloadFormatIndicator == 1
        assert got.ContentType == "text/plain; charset=utf-8"
        assert got.ResponseTopic == run.topic("answers")
        assert got.CorrelationData == bytes(range(256))
        assert got.UserProperty == user, (qos, got.UserProperty)


def a_message_without_properties_arrives_without(run):
    subscriber = run.client()
    subscriber.subscribe(run.topic("a"), qos=1)
    run.client(version=V311).publish(run.topic("a"), "plain", qos=1)
    assert subscriber.next().properties.json() == {}


def text_that_is_not_utf_8_is_refused_with_0x99(run):
    publisher = run.client()
    publisher.send(run.topic("a"), b"\xff", qos=1, PayloadFormatIndicator=1)
    assert publisher.ended()[0] == 0x99


def a_request_is_answered_where_it_asks(run):
    server, client = run.client("server"), run.client("client")
    server.subscribe(run.topic("ask"), qos=1)
    client.subscribe(run.topic("answers/+"), qos=1)
    for n in range(3):
        where = run.topic(f"answers/{n}")
        client.publish(run.topic("ask"), f"{n}", qos=1, ResponseTopic=where, CorrelationData=b"id-%d" % n)
        asked = server.next()
        answer = {"CorrelationData": asked.properties.CorrelationData}
        server.publish(asked.properties.ResponseTopic, asked.payload + b"!", qos=1, **answer)
        got = client.next()
        assert (got.topic, got.payload) == (where, b"%d!" % n)
        assert got.properties.CorrelationData == b"id-%d" % n


def subscription_ids_come_back_all_of_them_with_one_copy(run):
    subscriber = run.client()
    subscriber.subscribe(run.topic("a/#"), qos=1, id=1)
    subscriber.subscribe(run.topic("a/+"), qos=1, id=268_435_455)
    subscriber.subscribe(run.topic("a/b"), qos=1, id=77)
    subscriber.subscribe(run.topic("+/b"), qos=1)
    publisher = run.client()
    expected = {"a/b": [1, 77, 268_435_455], "a/c": [1, 268_435_455], "a/b/c": [1], "z/b": None}
    for qos in (0, 1, 2):
        for name, ids in expected.items():
            publisher.publish(run.topic(name), name, qos=qos)
            message = subscriber.next()
            got = getattr(message.properties, "SubscriptionIdentifier", None)
            assert message.payload.decode() == name
            assert (sorted(got) if got else None) == ids, (qos, name, got)
    assert subscriber.messages.empty()


def a_new_subscription_replaces_id_and_options_of_the_old(run):
    subscriber = run.client()
    subscriber.subscribe(run.topic("a"), qos=0, id=1)
    subscriber.subscribe(run.topic("a"), qos=1, id=2)
    run.client().publish(run.topic("a"), "once", qos=1)
    message = subscriber.next()
    assert (message.qos, message.properties.SubscriptionIdentifier) == (1, [2])
    assert subscriber.messages.empty()


def no_local_keeps_a_client_s_own_messages_away(run):
    client = run.client()
    client.subscribe(run.topic("own"), qos=2, noLocal=True)
    client.subscribe(run.topic("end"), qos=2)
    other = run.client()
    for qos in (0, 1, 2):
        client.publish(run.topic("own"), "own", qos=qos)
        other.publish(run.topic("own"), "other's", qos=qos)
    client.publish(run.topic("end"), "end", qos=2)
    assert [message.payload for message in client.until("end")] == [b"other's"] * 3


def retain_as_published_keeps_the_flag(run):
    keeps, clears = run.client("keeps"), run.client("clears")
    keeps.subscribe(run.topic("+"), qos=1, retainAsPublished=True)
    clears.subscribe(run.topic("+"), qos=1)
    publisher = run.client()
    for qos in (0, 1, 2):
        for retain in (True, False):
            publisher.publish(run.topic(f"{qos}"), f"{retain}", qos=qos, retain=retain)
            assert keeps.next().retain == retain, (qos, retain)
            assert not clears.next().retain, (qos, retain)


def an_alias_stands_for_its_topic(run):
    subscriber, publisher = run.client(), run.client()
    subscriber.subscribe(run.topic("#"), qos=2)
    most = publisher.connack.TopicAliasMaximum
    assert most >= 1
    for alias in (1, most):
        for qos in (0, 1, 2):
            publisher.publish(run.topic(f"{alias}/{qos}"), "named", qos=qos, TopicAlias=alias)
            publisher.publish("", "aliased", qos=qos, TopicAlias=alias)
            for payload in (b"named", b"aliased"):
                message = subscriber.next()
                assert (message.topic, message.payload) == (run.topic(f"{alias}/{qos}"), payload)


def an_alias_beyond_the_maximum_ends_the_connection_with_0x94(run):
    publisher = run.client()
    publisher.send(run.topic("a"), "", TopicAlias=publisher.connack.TopicAliasMaximum + 1)
    assert publisher.ended()[0] == 0x94


def an_alias_nobody_set_ends_the_connection_with_0x82(run):
    publisher = run.client()
    publisher.send("", "", TopicAlias=1)
    assert publisher.ended()[0] == 0x82


def a_message_s_remaining_life_is_told_and_ends(run):
    sleeper = run.client("sleeper", clean=False, SessionExpiryInterval=600)
    sleeper.subscribe(run.topic("a"), qos=1)
    sleeper.disconnect()
    publisher = run.client()
    publisher.publish(run.topic("a"), "short", qos=1, MessageExpiryInterval=1)
    publisher.publish(run.topic("a"), "long", qos=1, MessageExpiryInterval=1000)
    publisher.publish(run.topic("a"), "for ever", qos=1)
    publisher.publish(run.topic("kept"), "short", qos=1, retain=True, MessageExpiryInterval=1)
    publisher.publish(run.topic("kept"), "kept", qos=1, retain=True, MessageExpiryInterval=1000)
    publisher.publish(run.topic("gone"), "gone", qos=1, retain=True, MessageExpiryInterval=1)
    run.let_pass(2.1)
    sleeper.connect()
    long, for_ever = sleeper.next(), sleeper.next()
    assert (long.payload, for_ever.payload) == (b"long", b"for ever")
    assert 800 < long.properties.MessageExpiryInterval < 1000
    assert not hasattr(for_ever.properties, "MessageExpiryInterval")
    sleeper.subscribe(run.topic("gone"), run.topic("kept"), qos=1)
    kept = sleeper.next()
    assert kept.payload == b"kept" and 800 < kept.properties.MessageExpiryInterval < 1000


def a_live_message_tells_its_whole_life(run):
    subscriber = run.client()
    subscriber.subscribe(run.topic("a"), qos=1)
    for qos in (0, 1):
        run.client().publish(run.topic("a"), "live", qos=qos, MessageExpiryInterval=600)
        assert 500 < subscriber.next().properties.MessageExpiryInterval <= 600
