"""What the echo promises; needs no WASM, only the types that componentize-py writes."""

import unittest

from app import WitWorld
from componentize_py_types import Err
from wit_world.imports.types import Failure_Reject, Message


def message(topic, payload, response_topic=None, correlation_data=None):
    return Message(topic, payload, b"", None, response_topic, correlation_data, [], None, (0, 1), 0, 1)


class Echo(unittest.TestCase):
    def test_a_text_comes_back(self):
        [event] = WitWorld().handle(message("shop/7/say", "grüß Gott".encode()))
        self.assertEqual((event.topic, event.payload.decode()), ("shop/7/say/echo", "grüß Gott"))

    def test_an_answer_goes_where_it_is_wanted(self):
        [event] = WitWorld().handle(message("say", b"hi", "answers/3", b"call 9"))
        self.assertEqual((event.topic, event.correlation_data), ("answers/3", b"call 9"))

    def test_what_is_no_text_is_rejected(self):
        with self.assertRaises(Err) as raised:
            WitWorld().handle(message("say", b"\xff"))
        self.assertIsInstance(raised.exception.value, Failure_Reject)


if __name__ == "__main__":
    unittest.main()
