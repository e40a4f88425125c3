"""A contender for a lock by paho. Arguments: host, port, name. Told by lines what to do, says by lines what came."""

import os
import sys
import threading

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

HOST, PORT, NAME = sys.argv[1:]
LOCK = [("weir-when", "null"), ("weir-watch", "true"), ("weir-will", "null")]
asked, asking = {}, threading.Lock()


def say(word):
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def publish(client, what, payload, user):
    properties = Properties(PacketTypes.PUBLISH)
    if user:
        properties.UserProperty = user
    # Its answer may come before this returns.
    with asking:
        asked[client.publish("lock", payload, qos=1, retain=True, properties=properties).mid] = what


def on_publish(_client, _data, mid, reason, properties):
    with asking:
        what = asked.pop(mid)
    if reason.is_failure:
        return say(f"refused {reason}")
    token = dict(getattr(properties, "UserProperty", [])).get("weir-position", "")
    say(f"{what} {token}".strip())


def on_disconnect(*_):
    say("lost")
    os._exit(0)


client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=NAME, protocol=paho.MQTTv5, reconnect_on_failure=False)
client.on_publish, client.on_disconnect = on_publish, on_disconnect
client.on_connect = lambda *_: say("ready")
client.connect(HOST, int(PORT), clean_start=True)
client.loop_start()
for line in sys.stdin:
    match line.strip():
        case "ask":
            publish(client, "granted", f'"{NAME}"', [*LOCK, ("weir-idempotency-key", NAME)])
        case "release":
            publish(client, "released", "", [])
