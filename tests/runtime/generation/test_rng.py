"""Noise is a function of what it is for."""

import numpy as np

from motionrt.runtime.generation import rng as noise


def test_an_order_is_a_permutation_that_seed_and_sample_decide() -> None:
    found = noise.order(3, 0, 49)
    assert sorted(found) == list(range(49))
    assert np.array_equal(found, noise.order(3, 0, 49))
    assert not np.array_equal(found, noise.order(3, 1, 49)) and not np.array_equal(found, noise.order(4, 0, 49))


def test_a_tokens_noise_does_not_depend_on_which_others_are_drawn() -> None:
    whole = noise.tokens(0, 2, 5, range(10), 8)
    assert whole.shape == (10, 8) and whole.dtype == np.float32
    assert np.array_equal(noise.tokens(0, 2, 5, [7, 1], 8), whole[[7, 1]])
    assert noise.tokens(0, 2, 5, [], 8).shape == (0, 8)


def test_every_part_of_the_key_counts() -> None:
    keys = [
        (0, 0, 0, [0], 0),
        (1, 0, 0, [0], 0),
        (0, 1, 0, [0], 0),
        (0, 0, 1, [0], 0),
        (0, 0, 0, [1], 0),
        (0, 0, 0, [0], 1),
    ]
    drawn = {noise.tokens(seed, sample, step, places, 16, draw).tobytes() for seed, sample, step, places, draw in keys}
    assert len(drawn) == len(keys)


def test_it_is_standard_normal() -> None:
    drawn = np.concatenate([noise.tokens(0, sample, 0, range(49), 64).ravel() for sample in range(20)])
    assert abs(drawn.mean()) < 0.02 and abs(drawn.std() - 1) < 0.02
    assert 0 <= noise.uniform(0, 0) < 1 and noise.uniform(0, 0) != noise.uniform(0, 1)
