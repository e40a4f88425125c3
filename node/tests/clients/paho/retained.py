"""Retained messages: kept, replaced, deleted, and delivered however many there are."""

from client import V311


def a_retained_message_is_kept_replaced_and_deleted(run):
    publisher = run.client()
    for version in (V311, 5):
        for qos in (0, 1, 2):
            publisher.publish(run.topic("kept"), "first", qos=qos, retain=True)
            publisher.publish(run.topic("kept"), "second", qos=qos, retain=True)
            publisher.publish(run.topic("kept"), "not retained", qos=qos)
            _synchronised(run, publisher)
            subscriber = run.client(version=version)
            subscriber.subscribe(run.topic("kept"), qos=2)
            message = subscriber.next()
            assert (message.payload, message.retain, message.qos) == (b"second", True, qos)
            publisher.publish(run.topic("kept"), b"", qos=qos, retain=True)
            gone = subscriber.next()
            assert (gone.payload, gone.retain) == (b"", False)
            assert _retained(run, run.topic("kept")) == []


def _synchronised(run, publisher):
    """Everything this publisher sent before, QoS 0 too, has been taken in."""
    publisher.publish(run.topic("synchronised"), "", qos=1)


def _retained(run, *filters, **options):
    """What a new subscription is sent of the past."""
    subscriber = run.client()
    subscriber.subscribe(*filters, qos=2, **options)
    subscriber.subscribe(run.topic("end"), qos=2)
    # QoS 2 as those before it, so that it cannot overtake them.
    run.client().publish(run.topic("end"), "end", qos=2)
    found = subscriber.until("end")
    assert all(message.retain for message in found)
    return [(message.topic.removeprefix(run.prefix + "/"), message.payload.decode()) for message in found]


def retained_messages_keep_their_properties(run):
    user = [("b", "1"), ("a", "2")]
    run.client().publish(
        run.topic("a"), "{}", qos=1, retain=True, ContentType="application/json", UserProperty=user
    )
    subscriber = run.client()
    subscriber.subscribe(run.topic("+"), qos=1, id=5)
    got = subscriber.next().properties
    assert (got.ContentType, got.UserProperty, got.SubscriptionIdentifier) == ("application/json", user, [5])


def wildcards_find_retained_messages(run):
    publisher = run.client()
    topics = ["a", "a/b", "a/b/c", "a/d/c", "b/b"]
    for name in topics:
        publisher.publish(run.topic(name), name, qos=1, retain=True)
    expected = {
        "#": topics,
        "a/#": ["a", "a/b", "a/b/c", "a/d/c"],
        "+/b": ["a/b", "b/b"],
        "a/+/c": ["a/b/c", "a/d/c"],
        "a/b": ["a/b"],
        "c/#": [],
    }
    for pattern, found in expected.items():
        got = [name for name, _ in _retained(run, run.topic(pattern))]
        assert sorted(got) == found, (pattern, got)


def retain_handling_0_sends_each_time(run):
    _handling(run, 0, [True, True])


def retain_handling_1_sends_to_new_subscriptions(run):
    _handling(run, 1, [True, False])


def retain_handling_2_sends_nothing(run):
    _handling(run, 2, [False, False])


def _handling(run, handling, expected):
    publisher, subscriber = run.client(), run.client()
    publisher.publish(run.topic("kept/a"), "kept", qos=1, retain=True)
    subscriber.subscribe(run.topic("end"), qos=1)
    for sent in expected:
        subscriber.subscribe(run.topic("kept/#"), qos=1, retainHandling=handling)
        publisher.publish(run.topic("end"), "end", qos=1)
        got = [(message.payload, message.retain) for message in subscriber.until("end")]
        assert got == ([(b"kept", True)] if sent else []), (handling, got)
    subscriber.unsubscribe(run.topic("kept/#"))
    subscriber.subscribe(run.topic("kept/#"), qos=1, retainHandling=handling)
    publisher.publish(run.topic("end"), "end", qos=1)
    assert len(subscriber.until("end")) == int(expected[0])


def all_of_2000_retained_messages_arrive_by_one_filter(run):
    count = 2000
    publisher = run.client()
    sent = [publisher.send(run.topic(f"{n % 50}/{n}"), f"{n}", qos=1, retain=True) for n in range(count)]
    for mid in sent:
        publisher.answer("published", mid)
    for qos, options in ((0, {}), (1, {}), (1, {"clean": False, "SessionExpiryInterval": 60})):
        subscriber = run.client(**options)
        subscriber.subscribe(run.topic("#"), qos=qos)
        got = sorted(int(payload) for payload in subscriber.payloads(count))
        assert got == list(range(count)), (qos, options)
        subscriber.disconnect()


def one_subscription_of_many_filters_gets_what_each_finds(run):
    publisher = run.client()
    for name in ("a", "b", "c"):
        publisher.publish(run.topic(name), name, qos=1, retain=True)
    filters = [run.topic("a"), run.topic("b"), run.topic("missing")]
    assert sorted(_retained(run, *filters)) == [("a", "a"), ("b", "b")]
