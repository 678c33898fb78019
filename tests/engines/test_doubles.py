"""A repeated answer is told from equal ones, and what follows it on its connection is not believed."""

import asyncio
import json
from contextlib import suppress

from pairgen.engines._doubles import Doubles
from pairgen.engines._faults import Retry
from pairgen.engines._http import Line


class Wire:
    """A connection."""

    closed = False

    def close(self):
        self.closed = True


def body(number, text="[1]"):
    return json.dumps({"id": f"c-{number}", "choices": [{"message": {"content": text}}]}).encode()


def test_the_same_bytes_again_on_a_connection():
    """The second is a double, its connection is closed, and nothing on it is believed any more."""
    doubles, one, other = Doubles(), Wire(), Wire()
    assert [doubles.is_one(one, body(i)) for i in (1, 2, 3)] == [False] * 3
    assert not doubles.is_one(other, body(3))
    assert doubles.is_one(one, body(3))
    assert one.closed
    assert doubles.is_one(one, body(4))
    assert not other.closed


def test_the_very_first_answer_again():
    """Nothing is known of the server yet, and still the second request does not get the first one's answer."""
    doubles, wire = Doubles(), Wire()
    assert [doubles.is_one(wire, body(1)) for _ in range(2)] == [False, True]


def test_a_server_with_one_id_for_everything():
    """Some give every answer the same id, so that equal texts are equal bytes: those are answers."""
    doubles, wire = Doubles(), Wire()
    assert not doubles.is_one(wire, body("x", "[2]"))
    assert not any(doubles.is_one(wire, body("x")) for _ in range(9))


def test_a_server_with_one_answer_for_everything():
    """One request is asked again, on another connection; then it is known, and nothing is asked twice any more."""
    doubles, one, other = Doubles(), Wire(), Wire()
    assert [doubles.is_one(one, body("x")) for _ in range(2)] == [False, True]
    assert not any(doubles.is_one(other, body("x")) for _ in range(9))


def test_bodies_without_an_id():
    """Nothing is known of them, so nothing is refused."""
    doubles, wire = Doubles(), Wire()
    assert not any(doubles.is_one(wire, b"[]") for _ in range(3))


async def _confused(reader, writer, answers):
    """A server that answers in order, the third answer twice, the double a moment later."""
    for answer in answers:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        asked = json.loads(await reader.readexactly(length))["q"]
        data = body(asked, f"answer to {asked}")
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)
        writer.write(whole)
        if answer == 3:
            await asyncio.sleep(0.05)
            writer.write(whole)


def test_over_a_real_connection_no_request_gets_anothers_answer():
    """The double arrives while the connection is idle; the next request is told, and asked again it is answered."""

    async def ask(line, number):
        for _ in range(3):
            with suppress(Retry):
                return (await line.post("/", json.dumps({"q": number}).encode())).body
        raise AssertionError(number)

    async def main():
        server = await asyncio.start_server(lambda r, w: _confused(r, w, range(1, 99)), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        line = Line(f"http://127.0.0.1:{port}", None, 5.0, 5.0)
        try:
            for number in range(1, 9):
                assert await ask(line, number) == body(number, f"answer to {number}")
                await asyncio.sleep(0.02)
        finally:
            await line.close()
            server.close()

    asyncio.run(main())
