"""Metrics of embeddings against closed forms and sums done by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from motionrt.runtime.errors import InputError
from motionrt.training.metrics import features


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def exact(mean: np.ndarray, covariance: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """A sample [n, D] whose mean and covariance (n - 1) are exactly these."""
    x = rng.normal(size=(n, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x @ np.linalg.cholesky(covariance).T + mean


def test_fid_of_two_gaussians_is_the_closed_form(rng: np.random.Generator) -> None:
    # covariances that commute: (S1 S2)^(1/2) has the eigenvalues sqrt(a b)
    a, b = np.array([4.0, 1.0, 0.25]), np.array([1.0, 9.0, 0.25])
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    real = exact(np.array([1.0, 2, 3]), turn @ np.diag(a) @ turn.T, 50, rng)
    other = exact(np.array([1.0, 0, 3]), turn @ np.diag(b) @ turn.T, 80, rng)
    expected = 4 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert features.fid(real, other) == pytest.approx(expected, rel=1e-9)
    assert features.fid(other, real) == pytest.approx(expected, rel=1e-9)


def test_fid_of_covariances_that_do_not_commute_uses_the_matrix_root(rng: np.random.Generator) -> None:
    linalg = pytest.importorskip("scipy.linalg", reason="scipy is not installed")
    S1, S2 = (np.cov(rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5)), rowvar=False) for _ in range(2))
    real, other = exact(np.zeros(5), S1, 30, rng), exact(np.ones(5), S2, 30, rng)
    expected = 5 + np.trace(S1 + S2 - 2 * np.real(linalg.sqrtm(S1 @ S2)))
    assert features.fid(real, other) == pytest.approx(expected, rel=1e-7)


def test_fid_of_a_set_with_itself_is_zero_even_with_fewer_clips_than_dimensions(rng: np.random.Generator) -> None:
    x = rng.normal(size=(6, 20))
    assert features.fid(x, x) == pytest.approx(0, abs=1e-6)
    assert features.fid(x, x + 3) == pytest.approx(20 * 9, rel=1e-6)
    assert features.fid(x[:, :1], x[:, :1] + 3) == pytest.approx(9, rel=1e-9), "one dimension"


def test_principal_directions_are_orthonormal_and_hold_the_largest_variance(rng: np.random.Generator) -> None:
    deviations = np.array([5.0, 0.1, 3.0, 0.2])
    x = rng.normal(size=(500, 4)) * deviations + 100
    directions = features.pca(x, 2)
    np.testing.assert_allclose(directions.T @ directions, np.eye(2), atol=1e-9)
    np.testing.assert_allclose(np.abs(directions), [[1, 0], [0, 0], [0, 1], [0, 0]], atol=0.1)
    assert features.pca(x, 64).shape == (4, 4), "no more than there are"
    assert features.pca(x[:3], 64).shape == (4, 2), "nor than clips minus one"


def test_fid_on_principal_directions_ignores_the_others(rng: np.random.Generator) -> None:
    x = rng.normal(size=(500, 3)) * [3, 2, 0.01]
    directions = features.pca(x, 2)
    shifted = x + np.array([0, 0, 5.0])
    assert features.fid(x, shifted) == pytest.approx(25, rel=1e-6)
    assert features.fid(x @ directions, shifted @ directions) < 0.1


def test_halves_are_disjoint_and_equal(rng: np.random.Generator) -> None:
    for n in (4, 9, 100):
        first, second = features.halves(n, rng)
        assert len(first) == len(second) == n // 2
        assert len({*first, *second}) == 2 * (n // 2)
    assert sorted(features.halves(8, np.random.default_rng(1))[0]) != sorted(features.halves(8, rng)[0])


def test_r_precision_of_matched_rows_is_100_and_of_a_known_permutation_its_share(rng: np.random.Generator) -> None:
    text = np.eye(8)
    assert features.r_precision(text, text, rng, batch=8) == (100, 100, 100)
    # two are swapped, six are right: their own motion is as far as all the others, which come first
    swapped = text[[1, 0, *range(2, 8)]]
    assert features.r_precision(text, swapped, rng, batch=8, ks=(1, 7, 8)) == (75, 75, 100)


def test_r_precision_counts_by_rank(rng: np.random.Generator) -> None:
    # on a line, motion i lies where text i + 1 is: that motion and one more are nearer than the own one, but at the end
    text, motion = np.arange(6.0)[:, None], np.arange(6.0)[:, None] + 0.8
    ranks = features.batched_ranks(text, motion, rng, batch=6)
    assert ranks.tolist() == [1, 2, 2, 2, 2, 2], "0.8 away; the motion below is 0.2 away"
    assert features.r_precision(text, motion, rng, batch=6) == pytest.approx((100 / 6, 100, 100))


def test_r_precision_is_chance_for_random_and_zero_for_constant_embeddings(rng: np.random.Generator) -> None:
    text, motion = rng.normal(size=(6400, 4)), rng.normal(size=(6400, 4))
    found = features.r_precision(text, motion, rng)
    assert found == pytest.approx((100 / 32, 200 / 32, 300 / 32), rel=0.2)
    same = np.ones((64, 300)) * 0.1
    assert features.r_precision(same, same, rng) == (0, 0, 0)


def test_no_batch_has_a_description_twice_and_all_possible_batches_are_filled(rng: np.random.Generator) -> None:
    names = ["walk"] * 5 + ["run"] * 5 + list("abcdefghij")
    made = features.batches(names, 4, rng)
    assert all(len({names[i] for i in batch}) == 4 == len(batch) for batch in made)
    taken = [int(i) for batch in made for i in batch]
    assert len(set(taken)) == len(taken)
    left = [name for i, name in enumerate(names) if i not in taken]
    assert len(set(left)) < 4, "no further batch could be made"


def test_clips_with_the_same_description_are_not_wrong_answers(rng: np.random.Generator) -> None:
    text = np.repeat(np.eye(4), 10, 0)
    names = np.repeat(list("abcd"), 10).tolist()
    assert features.r_precision(text, text, rng, names, batch=4) == (100, 100, 100)
    assert features.r_precision(text, text, rng, batch=40)[0] == 0, "each of ten alike comes after the others"


def test_queries_of_an_incomplete_batch_have_rank_zero(rng: np.random.Generator) -> None:
    ranks = features.batched_ranks(np.eye(10), np.eye(10), rng, batch=4)
    assert sorted(ranks) == [0, 0, *[1] * 8]


def test_gallery_ranks_recall_and_median(rng: np.random.Generator) -> None:
    # text i is nearest motion i + 1, then i: ranks 2, 2, 2, 1
    text, motion = np.array([[0.0], [1], [2], [3]]), np.array([[-0.8], [0.2], [1.2], [2.2]])
    ranks = features.gallery_ranks(text, motion)
    assert ranks.tolist() == [2, 2, 2, 1]
    assert [features.recall(ranks, k) for k in (1, 2, 3)] == [25, 100, 100]
    assert features.median_rank(ranks) == 2
    assert features.gallery_ranks(motion, text).tolist() == [1, 2, 2, 2]
    order = rng.permutation(4)
    assert features.gallery_ranks(text, motion[order], np.eye(4, dtype=bool)[:, order]).tolist() == [2, 2, 2, 1]


def test_the_nearest_of_several_correct_answers_counts_and_the_others_do_not_affect_its_rank() -> None:
    query, gallery = np.array([[0.0]]), np.array([[3.0], [1.0], [1.0], [2.0], [9.0]])
    correct = np.array([[False, True, True, True, False]])
    assert features.gallery_ranks(query, gallery, correct).tolist() == [1]
    assert features.gallery_ranks(query, gallery, np.array([[True, False, False, False, True]])).tolist() == [4]


def test_equal_distances_rank_the_wrong_answer_first() -> None:
    same = np.full((50, 7), 1 / 3)
    assert features.gallery_ranks(same, same).tolist() == [50] * 50
    assert features.gallery_ranks(np.zeros((3, 2)), np.zeros((3, 2))).tolist() == [3] * 3


def test_matching_distance_and_cosine() -> None:
    text, motion = np.array([[3.0, 4], [1, 0]]), np.array([[0.0, 0], [1, 1]])
    assert features.mm_dist(text, motion) == pytest.approx((5 + 1) / 2)
    assert features.clip_like_score(text, np.array([[6.0, 8], [0, 2]])) == pytest.approx((1 + 0) / 2)
    assert features.clip_like_score(text, -text) == pytest.approx(-1)


def test_diversity_is_the_mean_distance_of_different_clips(rng: np.random.Generator) -> None:
    assert features.diversity(np.array([[0.0, 0], [3, 4]]), rng, 2) == pytest.approx(5)
    assert features.diversity(10 * np.eye(40), rng, 40) == pytest.approx(10 * np.sqrt(2)), "never one with itself"
    spread = rng.normal(size=(4000, 50))
    assert features.diversity(spread, rng) == pytest.approx(np.sqrt(2 * 50), rel=0.05)


def test_random_pairs_have_no_clip_twice_on_a_side() -> None:
    for seed in range(20):
        first, second = features.random_pairs(9, 9, np.random.default_rng(seed))
        assert sorted(first) == sorted(second) == list(range(9)) and (first != second).all()


def test_multimodality_is_the_diversity_within_a_text(rng: np.random.Generator) -> None:
    generations = np.stack([100 * i + d * np.eye(12) for i, d in ((0, 1.0), (1, 3.0))])
    assert features.multimodality(generations, rng) == pytest.approx(2 * np.sqrt(2)), "not between texts"
    assert features.multimodality(np.ones((2, 12, 3)), rng) == 0


def test_any_label_of_a_clip_is_correct() -> None:
    assert features.top1_any(["a", "b", "c", "d"], [{"a"}, {"a", "b"}, {"d"}, {"e"}]) == 50
    assert features.hits(["a", "b"], [["b"], ["b"]]).tolist() == [False, True]


ONE, TWO = np.ones((1, 3)), np.eye(3)[:2]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda rng: features.fid(ONE, TWO), "real motion: 1 clips, expected at least 2"),
        (lambda rng: features.fid(TWO, ONE), "other motion: 1 clips"),
        (lambda rng: features.fid(TWO, np.eye(2)), "widths 3 and 2"),
        (lambda rng: features.fid(TWO * np.nan, TWO), "row 0 has a number that is not finite"),
        (lambda rng: features.fid(np.ones(3), TWO), r"shape \[3\], expected \[clips, width\]"),
        (lambda rng: features.pca(ONE), "1 clips, expected at least 2"),
        (lambda rng: features.pca(TWO, 0), "0 principal components"),
        (lambda rng: features.halves(3, rng), "3 clips, expected at least 4"),
        (lambda rng: features.r_precision(ONE, ONE, rng), "1 distinct descriptions, expected at least the 32"),
        (lambda rng: features.r_precision(np.eye(40), np.eye(40), rng, ["a"] * 40), "1 distinct descriptions"),
        (lambda rng: features.r_precision(np.eye(40), np.eye(40), rng, ["a"]), "1 descriptions of 40 clips"),
        (lambda rng: features.r_precision(np.eye(40), np.eye(41), rng), r"\[40, 40\] and \[41, 41\], expected pairs"),
        (lambda rng: features.gallery_ranks(TWO, ONE), "expected pairs"),
        (lambda rng: features.gallery_ranks(TWO, ONE, np.ones((2, 2), bool)), r"correct answers of shape \[2, 2\]"),
        (lambda rng: features.gallery_ranks(TWO, TWO, np.ones((1, 2), bool)), r"correct answers of shape \[1, 2\]"),
        (lambda rng: features.batched_ranks(TWO, TWO, rng, batch=1), "batches of 1, expected at least 2"),
        (lambda rng: features.gallery_ranks(TWO, TWO, np.array([[True, True], [False] * 2])), "query 1 has no correct"),
        (lambda rng: features.recall(np.array([]), 1), "ranks: none"),
        (lambda rng: features.median_rank(np.array([])), "ranks: none"),
        (lambda rng: features.mm_dist(ONE, TWO), "expected pairs"),
        (lambda rng: features.clip_like_score(TWO, TWO * [[1], [0]]), "pair 1 has an embedding of length 0"),
        (lambda rng: features.diversity(ONE, rng), "1 clips, expected at least 2"),
        (lambda rng: features.diversity(TWO, rng, 300), "300 pairs of 2 clips, expected at least 2 clips and 1 to 2"),
        (lambda rng: features.multimodality(TWO, rng), r"expected \[texts, generations, width\]"),
        (lambda rng: features.multimodality(np.ones((4, 5, 3)), rng), "10 pairs of 5 clips"),
        (lambda rng: features.top1_any([], []), "0 predictions for 0 clips"),
        (lambda rng: features.top1_any(["a"], []), "1 predictions for 0 clips"),
    ],
)
def test_errors_name_what_cannot_be_measured(
    call: Callable[[np.random.Generator], object], message: str, rng: np.random.Generator
) -> None:
    with pytest.raises(InputError, match=message):
        call(rng)
