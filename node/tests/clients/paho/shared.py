"""Shared subscriptions: each message to one member, and never to nobody."""

_KEPT = {"clean": False, "SessionExpiryInterval": 600}


def _members(run, count, qos=1, **options):
    members = [run.client(f"member-{n}", **options) for n in range(count)]
    for member in members:
        assert member.subscribe(_group(run), qos=qos) == [qos]
    return members


def _group(run):
    return f"$share/{run.prefix}/{run.topic('work/#')}"


def _publish(run, count, qos=1):
    publisher = run.client("publisher")
    sent = [publisher.send(run.topic(f"work/{n}"), f"{n}", qos=qos) for n in range(count)]
    if qos:
        for mid in sent:
            assert publisher.answer("published", mid).value == 0
    return publisher


def every_member_gets_a_share_and_each_message_one_member(run):
    count = 300
    for qos in (0, 1, 2):
        members = _members(run, 3, qos)
        _publish(run, count, qos).disconnect()
        shares = [0] * 3
        seen = []
        for _ in range(count):
            n, message = _first(run, members)
            shares[n] += 1
            seen.append(int(message.payload))
        assert sorted(seen) == list(range(count)), qos
        assert min(shares) >= count // 10, (qos, shares)
        for member in members:
            assert member.messages.empty()
            member.disconnect()


def _first(run, members):
    """Whoever has a message, and the message."""
    return run.eventually(
        "a message for any member",
        lambda: next(((n, m.messages.get()) for n, m in enumerate(members) if not m.messages.empty()), None),
    )


def an_offline_member_gets_nothing_while_others_are_there(run):
    away, here = _members(run, 2, **_KEPT)
    away.disconnect()
    publisher = _publish(run, 50)
    assert sorted(int(payload) for payload in here.payloads(50)) == list(range(50))
    away.connect()
    away.subscribe(run.topic("end"), qos=1)
    publisher.publish(run.topic("end"), "end", qos=1)
    assert away.until("end") == []


def a_group_without_anybody_online_queues_for_whoever_comes(run):
    first, second = _members(run, 2, **_KEPT)
    first.disconnect()
    second.disconnect()
    _publish(run, 20)
    second.connect()
    assert sorted(int(payload) for payload in second.payloads(20)) == list(range(20))
    first.connect()
    first.subscribe(run.topic("end"), qos=1)
    run.client().publish(run.topic("end"), "end", qos=1)
    assert first.until("end") == []


def what_a_member_did_not_acknowledge_is_handed_on(run):
    for options in ({}, _KEPT):
        lazy = run.client(manual_ack=True, **options)
        lazy.subscribe(_group(run), qos=1)
        publisher = _publish(run, 5)
        held = [lazy.next() for _ in range(5)]
        lazy.paho.ack(held[0].mid, 1)
        # Answered after the acknowledgement was taken.
        lazy.subscribe(run.topic("other"))
        other = run.client(**options)
        other.subscribe(_group(run), qos=1)
        lazy.disconnect(**({"SessionExpiryInterval": 0} if options else {}))
        got = sorted(int(payload) for payload in other.payloads(4))
        assert got == [1, 2, 3, 4], (options, got)
        other.disconnect()
        publisher.disconnect()


def an_ended_session_leaves_its_shared_messages_to_the_group(run):
    for ending in ("clean start", "expiry", "disconnect"):
        expiry = 1 if ending == "expiry" else 600
        leaver = run.client(manual_ack=True, clean=False, SessionExpiryInterval=expiry)
        leaver.subscribe(_group(run), qos=1)
        stayer = run.client(**_KEPT)
        stayer.subscribe(_group(run), qos=1)
        stayer.disconnect()
        publisher = _publish(run, 5)
        for _ in range(5):
            leaver.next()
        if ending == "disconnect":
            leaver.disconnect(SessionExpiryInterval=0)
        else:
            leaver.drop()
        if ending == "clean start":
            leaver.clean = True
            leaver.connect().disconnect(SessionExpiryInterval=0)
        if ending == "expiry":
            run.let_pass(3)
        # Nobody of the group is there: it waits for the one who is away.
        stayer.connect()
        assert sorted(stayer.payloads(5)) == [f"{n}" for n in range(5)], ending
        stayer.disconnect(SessionExpiryInterval=0)
        publisher.disconnect()


def what_a_group_queued_comes_as_its_member_asked_for_it(run):
    keeper = run.client("keeper", **_KEPT)
    keeper.subscribe(_group(run), qos=2)
    keeper.disconnect()
    _publish(run, 3, qos=2)
    for options in ({}, _KEPT):
        member = run.client(**options)
        member.subscribe(_group(run), qos=1, id=9)
        if not options:
            got = [member.next() for _ in range(3)]
            assert [(m.qos, m.properties.SubscriptionIdentifier) for m in got] == [(1, [9])] * 3
            # The next one queues again.
            member.disconnect()
            _publish(run, 3, qos=2)
    got = [member.next() for _ in range(3)]
    assert [(m.qos, m.properties.SubscriptionIdentifier) for m in got] == [(1, [9])] * 3


def groups_and_plain_subscriptions_each_get_theirs(run):
    plain = run.client("plain")
    plain.subscribe(run.topic("work/#"), qos=1)
    one, two = run.client("one"), run.client("two")
    one.subscribe(f"$share/{run.prefix}-1/{run.topic('work/#')}", qos=1, id=3)
    two.subscribe(f"$share/{run.prefix}-2/{run.topic('work/+')}", qos=1)
    _publish(run, 10)
    for client in (plain, one, two):
        assert client.payloads(10) == [f"{n}" for n in range(10)]


def a_share_and_a_plain_filter_of_one_client_deliver_each_with_its_id(run):
    client = run.client()
    client.subscribe(run.topic("work/#"), qos=1, id=1)
    client.subscribe(_group(run), qos=1, id=2)
    run.client().publish(run.topic("work/a"), "a", qos=1)
    got = [client.next().properties.SubscriptionIdentifier for _ in range(2)]
    assert sorted(got) == [[1], [2]], got


def a_shared_subscription_is_sent_nothing_retained(run):
    publisher = run.client()
    publisher.publish(run.topic("work/kept"), "kept", qos=1, retain=True)
    (member,) = _members(run, 1)
    publisher.publish(run.topic("work/end"), "end", qos=1)
    assert member.until("end") == []


def no_local_on_a_shared_subscription_ends_the_connection_with_0x82(run):
    client = run.client()
    client.send_subscribe([_group(run)], qos=1, noLocal=True)
    assert client.ended()[0] == 0x82


def leaving_a_group_leaves_the_others_in_it(run):
    leaver, stayer = _members(run, 2)
    assert leaver.unsubscribe(_group(run)) == [0]
    _publish(run, 20)
    assert sorted(int(payload) for payload in stayer.payloads(20)) == list(range(20))
    assert leaver.messages.empty()
