"""Kombu: a direct, a topic and a fanout exchange; acknowledged, requeued and rejected messages. PREFIX: its keys'."""
import os
import socket

from common import URL
from kombu import Connection, Consumer, Exchange, Producer, Queue

options = {"global_keyprefix": os.environ["PREFIX"]} if os.environ.get("PREFIX") else {}
for kind in ("direct", "topic", "fanout"):
    with Connection(URL, transport_options=options) as connection:
        exchange = Exchange(f"x-{kind}", kind)
        queue = Queue(f"q-{kind}", exchange, routing_key="a.b")
        got, again = [], []

        def receive(body, message):
            if body == 3 and kind != "fanout" and not again:
                again.append(body)
                return message.requeue()
            got.append(body)
            message.reject() if body == 4 else message.ack()

        with connection.channel() as channel, Consumer(channel, queue, callbacks=[receive]):
            # A fanout exchange gives to who listens; that begins here.
            try:
                connection.drain_events(timeout=1)
            except socket.timeout:
                pass
            for number in range(20):
                Producer(connection.default_channel, exchange).publish(number, routing_key="a.b", declare=[queue])
            try:
                while len(got) < 20:
                    connection.drain_events(timeout=5)
            except socket.timeout:
                pass
        assert sorted(got) == list(range(20)), (kind, got)
print("ok")
