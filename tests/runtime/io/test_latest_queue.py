import threading

import pytest

from motionrt.runtime.io.latest_queue import LatestQueue


def test_the_newest_value_of_every_key_is_kept_and_the_others_are_counted():
    queue = LatestQueue()
    queue.put({"a": 1, "b": 2})
    queue.put({"a": 3})
    assert (sorted(queue.take(1)), queue.dropped) == ([2, 3], 1)
    queue.put({"a": 4})
    assert (queue.take(1), queue.dropped) == ([4], 1)


def test_nothing_arrives_within_the_timeout():
    assert LatestQueue().take(0.01) == []


def test_a_value_wakes_the_consumer():
    queue = LatestQueue()
    threading.Timer(0.02, queue.put, [{0: 1}]).start()
    assert queue.take(60) == [1]


def test_closing_wakes_the_consumer_and_keeps_pending_values():
    queue = LatestQueue()
    threading.Timer(0.02, queue.close).start()
    assert queue.take(60) is None
    queue = LatestQueue()
    queue.put({0: 1})
    queue.close()
    queue.put({0: 2})
    assert queue.closed and (queue.take(60), queue.take(60), queue.dropped) == ([1], None, 0)


def test_the_error_passed_to_close_is_raised_after_pending_values():
    queue = LatestQueue()
    queue.put({0: 1})
    queue.close(ValueError("broken"))
    queue.close()
    assert queue.take(60) == [1]
    with pytest.raises(ValueError, match="broken"):
        queue.take(60)
