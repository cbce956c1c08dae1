"""A cluster that does not answer any more ends the command; one that does never."""

from __future__ import annotations

import socket
import threading

import pytest

from study.runtime import watch
from study.runtime.watch import Place, Start, Watch


def place(port: int) -> Place:
    return Place(what="its head", host="127.0.0.1", port=port, patience=0.0)


def test_a_place_answers_while_its_process_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = place(server.getsockname()[1])
        assert there.answers()
    assert not there.answers()


def test_the_watch_ends_the_command_when_a_place_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Place] = []
    gone, asked = threading.Event(), threading.Semaphore(0)
    answers = Place.answers

    def heard(self: Place) -> bool:
        found = answers(self)
        asked.release()
        return found

    def end(of: Place) -> None:
        ended.append(of)
        gone.set()

    monkeypatch.setattr(watch, "EVERY_SECONDS", 0.001)
    monkeypatch.setattr(watch, "_end", end)
    monkeypatch.setattr(Place, "answers", heard)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        there = place(server.getsockname()[1])
        one = Watch([there])
        for _ in range(5):
            assert asked.acquire(timeout=60)
        assert not ended
    assert gone.wait(60)
    one.close()
    assert set(ended) == {there}


def test_the_watch_ends_a_start_whose_process_has_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only then: while all run it asks on. The line names no address, as there is none yet."""
    exits: list[int] = []
    gone, asked, dead = threading.Event(), threading.Semaphore(0), threading.Event()

    def ended() -> bool:
        asked.release()
        return dead.is_set()

    def leave(code: int) -> None:
        exits.append(code)
        gone.set()

    monkeypatch.setattr(watch, "EVERY_SECONDS", 0.001)
    monkeypatch.setattr(watch.os, "_exit", leave)
    one = Watch([Start(ended=ended, patience=0.0)])
    for _ in range(5):
        assert asked.acquire(timeout=60)
    assert not exits
    dead.set()
    assert gone.wait(60)
    one.close()
    assert {*exits} == {watch.CLUSTER_LOST}
    assert "the Ray cluster is lost: its head ended while it began;" in caplog.text
