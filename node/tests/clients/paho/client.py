"""A paho client whose events are waited for, and the properties it sends and receives."""

import os
import queue
import socket
import threading
import uuid

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

# Every wait ends here; a healthy node needs a small part of it.
DEADLINE_SECONDS = 30

V31, V311, V5 = paho.MQTTv31, paho.MQTTv311, paho.MQTTv5


def packet_properties(packet, **values):
    """Properties of a packet, by paho's names: `UserProperty=[("a", "b")]`."""
    made = Properties(packet)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Client:
    """One connection after another of one client id; its messages wait in a queue."""

    def __init__(self, run, name=None, version=V5, clean=True, manual_ack=False, will=None, **connect):
        self.run, self.version, self.clean = run, version, clean
        self.id = run.name(uuid.uuid4().hex[:8] if name is None else name)
        self.connect_properties = connect
        self.messages = queue.Queue()
        self.manual_ack, self.will = manual_ack, will

    def connect(self, keep_alive=60, threaded=True):
        """CONNECT; returns self once CONNACK is there. `session_present`, `connack` say what it said."""
        self.answers, self.answered = {}, threading.Condition()
        self.connacked, self.closed = queue.Queue(), queue.Queue()
        client = self.paho = self._made()
        self.run.opened(self)
        clean = self.clean if self.version == V5 else paho.MQTT_CLEAN_START_FIRST_ONLY
        client.connect(
            self.run.host, self.run.port, keep_alive, clean_start=clean, properties=self._connect_properties()
        )
        if not threaded:
            while self.connacked.empty():
                client.loop(0.1)
        else:
            client.loop_start()
        flags, self.reason, self.connack = self.connacked.get(timeout=DEADLINE_SECONDS)
        self.session_present = flags.session_present
        return self

    def _made(self):
        clean = None if self.version == V5 else self.clean
        transport = "websockets" if self.run.websocket else "tcp"
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=self.id,
            clean_session=clean,
            protocol=self.version,
            transport=transport,
            reconnect_on_failure=False,
            manual_ack=self.manual_ack,
        )
        if self.run.tls:
            client.tls_set(ca_certs=self.run.ca)
        if self.run.websocket:
            client.ws_set_options(path="/mqtt")
        if self.will:
            client.will_set(**self.will)
        client.on_connect = lambda _c, _u, flags, reason, props: self.connacked.put((flags, reason, props))
        client.on_disconnect = lambda _c, _u, _flags, reason, props: self.closed.put((reason, props))
        client.on_message = lambda _c, _u, message: self.messages.put(message)
        client.on_subscribe = lambda _c, _u, mid, reasons, _p: self._answer("suback", mid, reasons)
        client.on_unsubscribe = lambda _c, _u, mid, reasons, _p: self._answer("unsuback", mid, reasons)
        client.on_publish = lambda _c, _u, mid, reason, _p: self._answer("published", mid, reason)
        return client

    def _connect_properties(self):
        return packet_properties(PacketTypes.CONNECT, **self.connect_properties) if self.version == V5 else None

    def _answer(self, kind, mid, value):
        with self.answered:
            self.answers[kind, mid] = value
            self.answered.notify_all()

    def answer(self, kind, mid):
        """What the broker answered to a packet id."""
        with self.answered:
            if not self.answered.wait_for(lambda: (kind, mid) in self.answers, DEADLINE_SECONDS):
                raise TimeoutError(f"no {kind} for packet {mid}")
            return self.answers.pop((kind, mid))

    def subscribe(self, *filters, qos=0, id=None, **options):
        """Subscribes and returns the SUBACK codes as numbers. Filters are taken as they are."""
        if self.version == V5:
            wanted = [(name, SubscribeOptions(qos=qos, **options)) for name in filters]
            ids = {"SubscriptionIdentifier": id} if id else {}
            _, mid = self.paho.subscribe(wanted, properties=packet_properties(PacketTypes.SUBSCRIBE, **ids))
        else:
            _, mid = self.paho.subscribe([(name, qos) for name in filters])
        return [reason.value for reason in self.answer("suback", mid)]

    def send_subscribe(self, filters, **options):
        """SUBSCRIBE past paho's own judgement; returns the packet id."""
        pairs = [(name.encode(), SubscribeOptions(**options)) for name in filters]
        return self.paho._send_subscribe(False, pairs)[1]

    def subscribe_unchecked(self, filters, **options):
        """The same, with the SUBACK codes."""
        return [reason.value for reason in self.answer("suback", self.send_subscribe(filters, **options))]

    def unsubscribe(self, *filters):
        """Unsubscribes and returns the UNSUBACK codes; MQTT 3.1.1 has none."""
        _, mid = self.paho.unsubscribe(list(filters))
        return [reason.value for reason in self.answer("unsuback", mid)]

    def send(self, topic, payload=b"", qos=0, retain=False, **values):
        """PUBLISH without waiting; returns the packet id."""
        made = packet_properties(PacketTypes.PUBLISH, **values) if self.version == V5 else None
        return self.paho.publish(topic, payload, qos, retain, properties=made).mid

    def publish(self, topic, payload=b"", qos=0, retain=False, **values):
        """PUBLISH, answered: returns the reason code of PUBACK or PUBREC."""
        mid = self.send(topic, payload, qos, retain, **values)
        return self.answer("published", mid).value

    def next(self):
        """The next message."""
        try:
            return self.messages.get(timeout=DEADLINE_SECONDS)
        except queue.Empty:
            raise TimeoutError(f"{self.id}: no message") from None

    def payloads(self, count):
        """The payloads of so many messages, as text."""
        return [self.next().payload.decode() for _ in range(count)]

    def until(self, marker):
        """Messages before the one with this payload."""
        found = []
        while (message := self.next()).payload != marker.encode():
            found.append(message)
        return found

    def disconnect(self, reason=0, **values):
        """DISCONNECT and the end of the connection."""
        if self.version == V5:
            code = ReasonCode(PacketTypes.DISCONNECT, identifier=reason)
            self.paho.disconnect(code, packet_properties(PacketTypes.DISCONNECT, **values))
        else:
            self.paho.disconnect()
        self.ended()

    def drop(self):
        """The network is gone: no DISCONNECT, and the broker sees the end of the stream."""
        sock = self.paho.socket()
        with socket.socket(fileno=os.dup(sock.fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)
        self.ended()

    def ended(self):
        """Waits for the end of the connection; the reason the broker gave as a number, and its properties."""
        reason, props = self.closed.get(timeout=DEADLINE_SECONDS)
        self.paho.loop_stop()
        return reason.value, props
