"""Noise is a function of its key."""

import numpy as np

from motionrt.runtime.generation import rng


def test_an_order_is_a_permutation_keyed_by_seed_and_sample() -> None:
    found = rng.order(3, 0, 49)
    assert sorted(found) == list(range(49))
    assert np.array_equal(found, rng.order(3, 0, 49))
    assert not np.array_equal(found, rng.order(3, 1, 49)) and not np.array_equal(found, rng.order(4, 0, 49))


def test_the_noise_of_a_token_does_not_depend_on_other_tokens() -> None:
    whole = rng.tokens(0, 2, 5, range(10), 8)
    assert whole.shape == (10, 8) and whole.dtype == np.float32
    assert np.array_equal(rng.tokens(0, 2, 5, [7, 1], 8), whole[[7, 1]])
    assert rng.tokens(0, 2, 5, [], 8).shape == (0, 8)


def test_every_part_of_the_key_matters() -> None:
    keys = [
        (0, 0, 0, [0], 0),
        (1, 0, 0, [0], 0),
        (0, 1, 0, [0], 0),
        (0, 0, 1, [0], 0),
        (0, 0, 0, [1], 0),
        (0, 0, 0, [0], 1),
    ]
    drawn = {
        rng.tokens(seed, sample, step, positions, 16, draw).tobytes() for seed, sample, step, positions, draw in keys
    }
    assert len(drawn) == len(keys)


def test_noise_is_standard_normal() -> None:
    noise = np.concatenate([rng.tokens(0, sample, 0, range(49), 64).ravel() for sample in range(20)])
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert 0 <= rng.uniform(0, 0) < 1 and rng.uniform(0, 0) != rng.uniform(0, 1)
