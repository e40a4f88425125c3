"""Sends each text back: `shop/7/say` to `shop/7/say/echo`, or to where the answer is wanted."""

from componentize_py_types import Err
from wit_world import WitWorld
from wit_world.imports.types import Event, Failure_Reject, Message


class WitWorld(WitWorld):
    def handle(self, message: Message) -> list[Event]:
        try:
            text = message.payload.decode()
        except UnicodeDecodeError as error:
            raise Err(Failure_Reject(f"payload is not UTF-8: {error}"))
        return [
            Event(
                topic=message.response_topic or f"{message.topic}/echo",
                payload=text.encode(),
                qos=0,
                retain=False,
                content_type="text/plain",
                response_topic=None,
                correlation_data=message.correlation_data,
                user_properties=[("attempt", str(message.attempt))],
                expiry_seconds=None,
            )
        ]
