"""Uses the example handlers with paho-mqtt: `examples.py --url tcp=mqtt://HOST:PORT CHECK`."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients" / "paho"))

import run as checks


def _tell(user, command, payload):
    assert user.publish(command, json.dumps(payload), qos=1) in (0, 0x10)


def _hears(user, topic, payload):
    message = user.next()
    assert (message.topic, json.loads(message.payload)) == (topic, payload), message


def users_become_contacts_of_each_other(run):
    asker, asked = run.client(), run.client()
    asker.subscribe("68946/+", qos=1)
    asked.subscribe("23412/+", qos=1)
    _tell(asker, "request_contact", {"user_id": 68946, "contact_id": 23412})
    _hears(asked, "23412/contact_requested", {"user_id": "68946"})
    _tell(asker, "request_contact", {"user_id": 68946, "contact_id": 23412})
    _tell(asked, "accept_contact", {"user_id": 23412, "contact_id": 68946})
    _hears(asker, "68946/contact_approved", {"user_id": "23412"})
    for user, name, other in ((asker, 68946, "23412"), (asked, 23412, "68946")):
        _tell(user, "get_contact_list", {"user_id": name})
        _hears(user, f"{name}/contact_list", [other])


CHECKS = (users_become_contacts_of_each_other,)

if __name__ == "__main__":
    checks.CHECKS.clear()
    checks.CHECKS.update({check.__name__: check for check in CHECKS})
    sys.exit(checks.main())
