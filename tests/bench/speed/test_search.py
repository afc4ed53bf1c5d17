"""The benchmark of searches: sizes of its indexes, and consistency of its parts."""

import json

import numpy as np

from motionrt.bench.speed.search import bench_search, fill_index


def test_every_size_is_measured_with_its_lower_bound(monkeypatch):
    monkeypatch.setattr("motionrt.bench.speed.search.PEAK_S", 0.01)
    report = json.loads(json.dumps(bench_search("default", sizes=(50, 300), calls=3), allow_nan=False))
    assert [(row["motions"], row["bytes"]) for row in report["sizes"]] == [(50, 50 * 384 * 4), (300, 300 * 384 * 4)]
    for row in report["sizes"]:
        assert row["floor_ms"] > 0
        for kind in ("text", "motion"):
            assert all(row[kind][part]["n"] == 3 for part in ("query", "encoding", "searching"))


def test_index_entries_lie_near_real_directions():
    directions = np.eye(8, dtype=np.float32)
    library = fill_index(directions, 21, "model")
    assert len(library) == 21 and np.allclose(np.linalg.norm(library.features, axis=1), 1, atol=1e-6)
    assert [int(i) for i in (library.features @ directions.T).argmax(1)] == [i % 8 for i in range(21)]
