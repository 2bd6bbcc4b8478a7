"""A strict push service to send to: real sockets, and no mercy with what Mozilla's refuses.

Three ports of 127.0.0.1, served by one thread with its own event loop: HTTP/2 and HTTP/1.1 over
TLS (by ALPN), HTTP/1.1 in clear text, and the WebSocket protocol by which Firefox registers and
receives. Where Apple, Google or Microsoft refuse more than Mozilla, so does this one.

    with PushService() as push:
        browser = push.subscribe(vapid_public_key)
        ...
        assert browser.decrypt(push.wait_for(1, timeout=5)[0].body) == b"Stop press"
        assert push.refusals == []

Every message is judged. A rule given to `answer_with` changes what the sender hears, and no more:
another status, an answer too late or too large, none at all, the stream or connection ended.

    push.answer_with(lambda message: Answer(429, {"retry-after": "2"}))
    push.answer_with(every(100, Answer(goaway=True)))

`received` tells exactly what was taken in: each message whose answer was decided, once for each
time it came. What HTTP/2 says was not (a refused stream, one beyond a GOAWAY) is in `disowned`.
"""

from tests.support.push_service.messages import Answer as Answer
from tests.support.push_service.messages import Message as Message
from tests.support.push_service.messages import Rule as Rule
from tests.support.push_service.messages import Subscription as Subscription
from tests.support.push_service.messages import every as every
from tests.support.push_service.service import PushService as PushService
