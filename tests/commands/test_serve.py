"""rnnt serve, as a user starts it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from rnnt.commands import serve


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_asked_to_end(run, recordings, ending):
    port = free_port()
    command = [sys.executable, "-m", "rnnt.cli", "serve", str(run), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert server.stdout.readline() == f"{run}: http://127.0.0.1:{port} (Control-C ends the server)\n"
        for _ in range(200):
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/health").json()["status"] == "ok"
                break
            except httpx.TransportError:
                time.sleep(0.1)
        recording = next(recordings.rglob("*.wav"))
        files = {"file": recording.read_bytes()}
        found = httpx.post(f"http://127.0.0.1:{port}/v1/audio/transcriptions", files=files, timeout=60)
        assert found.status_code == 200 and "text" in found.json()
    finally:
        server.send_signal(ending)
        _, errors = server.communicate(timeout=30)
    assert "Traceback" not in errors


def test_a_port_that_is_taken(call, run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert call("serve", run, "--port", port) == 2
    assert f"cannot listen at 127.0.0.1 port {port}: " in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "short", "with a space", "ünicode-token"])
def test_a_token_that_is_none(call, run, tmp_path, capsys, content):
    (tmp_path / "token").write_text(content)
    assert call("serve", run, "--token-file", tmp_path / "token") == 2
    assert "holds no token" in capsys.readouterr().err


def test_a_language_model_without_a_name(call, run, capsys):
    assert call("serve", run, "--lm", "lm.arpa") == 2
    assert "--lm lm.arpa is not of the form NAME=FILE" in capsys.readouterr().err


def test_small_messages_leave_at_once():
    """Each connection has TCP_NODELAY, or the second part of each answer waits for 40 ms."""

    async def option_of_a_connection():
        found = asyncio.get_running_loop().create_future()

        async def accept(reader, writer):
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = serve._listen("127.0.0.1", 0)
        async with await asyncio.start_server(accept, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            option = await found
            writer.close()
        return option

    assert asyncio.run(option_of_a_connection())
