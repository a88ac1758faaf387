from __future__ import annotations

from synthtrial.engines.ray.queueing import Given, Queue
from synthtrial.tasks import Task


def given(kind, seconds, id_="a"):
    return Given(Task(kind, id_, id_, (), {}, ""), id_, seconds)


def test_the_order_is_by_kind_then_the_longest_first_then_by_arrival():
    queue = Queue()
    for item in (
        given("trial", 1, "short"),
        given("trial", 5, "long"),
        given("trial", 1, "last"),
        given("train_gan", 1, "gan"),
        given("exhibits", 9, "exhibits"),
    ):
        queue.push(item)
    assert queue.first.job == "gan"
    assert queue.seconds == 17
    order = [queue.pop().job for _ in range(len(queue))]
    assert order == ["gan", "long", "short", "last", "exhibits"]


def test_what_is_taken_out_leaves_the_others_in_order():
    queue = Queue()
    items = [given("trial", seconds, str(seconds)) for seconds in (3, 2, 1)]
    for item in items:
        queue.push(item)
    queue.remove(items[0])
    queue.remove(items[0])  # again: nothing happens
    assert [item.job for item in (queue.pop(), queue.pop())] == ["2", "1"]
