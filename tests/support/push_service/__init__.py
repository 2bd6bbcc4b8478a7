"""A strict push service with real sockets. It refuses what Mozilla's push service refuses.

One thread with its own event loop serves three ports of 127.0.0.1: HTTP/2 and HTTP/1.1 over TLS (by
ALPN), HTTP/1.1 in clear text, and the WebSocket protocol by which Firefox registers and receives.
Where Apple, Google or Microsoft refuse more than Mozilla, this service refuses it too.

    with PushService() as push:
        browser = push.subscribe(vapid_public_key)
        ...
        assert browser.decrypt(push.wait_for(1, timeout=5)[0].body) == b"Stop press"
        assert push.refusals == []

Every message is judged. A rule given to `answer_with` only changes the response that the sender
gets: another status, late or too large, none at all, the stream or the connection ended.

    push.answer_with(lambda message: Answer(429, {"retry-after": "2"}))
    push.answer_with(every(100, Answer(goaway=True)))

A sender is stopped in the middle of a send by an answer that does not come:

    push.hold_after(100)
    push.wait_for(100, timeout=30)
    push.go_on()

`received` has every message that the service took, once for each time it came. Messages that HTTP/2
reports as not taken (a refused stream, a stream beyond a GOAWAY) are in `disowned`.
"""

from tests.support.push_service.messages import Answer as Answer
from tests.support.push_service.messages import Message as Message
from tests.support.push_service.messages import Rule as Rule
from tests.support.push_service.messages import Subscription as Subscription
from tests.support.push_service.messages import every as every
from tests.support.push_service.service import PushService as PushService
