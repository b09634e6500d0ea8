"""How often intervals over training seeds and documents cover the truth, and how wide they are.

    python benchmarks/seeds.py --repeats 1000

Simulates the 0/1 scores of a whole adapter and of a cut on documents, for several training seeds.
The true mean difference is known. `seeds`: how much it varies with the seed (standard deviation
on the latent scale, where answers vary with 0.7); `documents`: how much with the document.

- documents: bootstrap of the documents alone
- bootstrap: seeds and documents drawn anew, percentiles
- expanded: the same, with percentiles for few seeds (Hesterberg 2015, section 5.2)
- ours: `lm_eval_lora_boundary.compare.over_seeds`
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
import scipy.stats

from lm_eval_lora_boundary.compare.over_seeds import over_seeds

Matrix = npt.NDArray[np.float64]  # seeds × documents
DRAWS = 400
METHODS = ("documents", "bootstrap", "expanded", "ours")
THRESHOLD = -0.3  # of the latent score; documents are right above it


def simulate(
    seeds: int, documents: int, of_seeds: float, of_documents: float, generator: np.random.Generator
) -> tuple[Matrix, float]:
    """Return differences between cut and whole adapter, and their true mean."""
    shape = (seeds, documents)
    hard = generator.normal(size=(1, documents))
    whole = hard + generator.normal(0, 0.7, shape)
    cut = hard + generator.normal(0, 0.7, shape)
    cut += generator.normal(0, of_seeds, (seeds, 1))
    cut += generator.normal(0, of_documents, (1, documents))
    spread_whole = np.hypot(1, 0.7)
    spread_cut = np.sqrt(1 + 0.7**2 + of_seeds**2 + of_documents**2)
    truth = scipy.stats.norm.sf(THRESHOLD / spread_cut)
    truth -= scipy.stats.norm.sf(THRESHOLD / spread_whole)
    return (cut > THRESHOLD).astype(float) - (whole > THRESHOLD), float(truth)


def intervals(values: Matrix, generator: np.random.Generator) -> list[tuple[float, float]]:
    """Return the interval of every method."""
    seeds, documents = values.shape
    counts = generator.multinomial(documents, np.full(documents, 1 / documents), size=DRAWS)
    draws = counts @ values.T / documents  # shape (draws, seeds)
    chosen = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS)
    both = (draws * chosen).sum(axis=1) / seeds
    quantile = scipy.stats.t.ppf(0.975, seeds - 1) * np.sqrt(seeds / (seeds - 1))
    tail = 100 * scipy.stats.norm.sf(quantile)
    ours = over_seeds(values.mean(axis=1)[:, None], draws.T[:, :, None], documents)
    return [
        tuple(np.percentile(draws.mean(axis=1), [2.5, 97.5])),
        tuple(np.percentile(both, [2.5, 97.5])),
        tuple(np.percentile(both, [tail, 100 - tail])),
        (ours.low[0], ours.high[0]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=300)
    repeats = parser.parse_args().repeats
    generator = np.random.default_rng(1)
    print("covers / mean width:    ", *(f"{name:>14}" for name in METHODS))
    for of_seeds, of_documents in ((0.0, 0.0), (0.06, 0.2), (0.18, 0.2), (0.3, 0.2)):
        print(f"seeds {of_seeds}, documents {of_documents}")
        for seeds in (2, 3, 5, 10):
            for documents in (50, 200):
                covered, width = np.zeros(len(METHODS)), np.zeros(len(METHODS))
                for _ in range(repeats):
                    values, truth = simulate(seeds, documents, of_seeds, of_documents, generator)
                    low, high = np.array(intervals(values, generator)).T
                    covered += (low <= truth) & (truth <= high)
                    width += high - low
                cells = (
                    f"{100 * c / repeats:5.1f} % / {w / repeats:.3f}"
                    for c, w in zip(covered, width, strict=True)
                )
                print(f"  {seeds:2} seeds, {documents:3} documents:", *cells, flush=True)


if __name__ == "__main__":
    main()
