"""How autobahn-python says who it is. Arguments: URLs."""

import asyncio
import sys

from autobahn.wamp import auth

from python import Client, open_session

# The first test of RFC 8032 section 7.1, and another.
KEY = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
OTHER = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
FAILED = "wamp.error.authentication_failed"


def as_user(authenticator, authid):
    """A session that says who it is by this authenticator."""

    class User(Client):
        def onConnect(self):
            extra = authenticator.authextra or None
            self.join(self.config.realm, authmethods=[authenticator.name], authid=authid, authextra=extra)

        def onChallenge(self, challenge):
            return authenticator.on_challenge(self, challenge)

    return User


async def welcomed(url, authenticator, authid):
    client, details = await open_session(url, "json", as_user(authenticator, authid))
    assert (details.authid, details.authmethod) == (authid or "dee", authenticator.name), details
    client.leave()


async def refused(url, authenticator, authid):
    try:
        await open_session(url, "json", as_user(authenticator, authid))
    except RuntimeError as error:
        assert FAILED in str(error), error
        return
    raise AssertionError(f"{authid} was let in")


async def check(url):
    await welcomed(url, auth.AuthTicket(ticket="apple"), "ann")
    await refused(url, auth.AuthTicket(ticket="pear"), "ann")
    await welcomed(url, auth.AuthWampCra(authid="bob", secret="banana"), "bob")
    await refused(url, auth.AuthWampCra(authid="bob", secret="pear"), "bob")
    await refused(url, auth.AuthWampCra(authid="nobody", secret="banana"), "nobody")
    await welcomed(url, auth.AuthCryptoSign(privkey=KEY), "dee")
    await welcomed(url, auth.AuthCryptoSign(privkey=KEY), None)
    await refused(url, auth.AuthCryptoSign(privkey=OTHER), "dee")


async def main():
    for url in sys.argv[1:]:
        await check(url)


if __name__ == "__main__":
    asyncio.run(main())
