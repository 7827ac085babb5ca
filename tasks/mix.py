"""Which signals make a training set: corrections raised within a bound, among demonstrations as production is.

Production's mix is estimated over slices and labels (right answers that come up again and again), and the
demonstrations from production are drawn so that with the corrections each such cell has the share that it has there.
Given demonstrations stand for what production shows rarely, and keep the share that they have among all demonstrations.
A config may say otherwise for a source. Everything here is a pure function of rows and config; ties are broken by hash,
so that the order of rows makes no difference.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tasks.data_options import BlendConfig

if TYPE_CHECKING:
    import polars as pl

GIVEN = "given"
LABEL_CALLS = 5  # an answer that production shows less often is no label, such as a sentence of its own
SUCCESS = "no failure"
FEWEST = 0.5  # of the demonstrations that a cell would have, were corrections not counted


def apportion(total: int, weights: Mapping[str, float], available: Mapping[str, int]) -> dict[str, int]:
    """Split `total` over the keys in proportion to the weights, none above what is available.

    Largest-remainder (Hamilton) method; what a key cannot supply goes to the others. The sum is `total`, or everything
    there is when that is less.
    """
    given = dict.fromkeys(sorted(available), 0)
    left = min(total, sum(available.values()))
    while left > 0:
        open_keys = [key for key in given if given[key] < available[key]]
        mass = sum(weights.get(key, 0.0) for key in open_keys)
        quotas = {key: left * (weights.get(key, 0.0) / mass if mass else 1 / len(open_keys)) for key in open_keys}
        shares = {key: int(quota) for key, quota in quotas.items()}
        by_remainder = sorted(open_keys, key=lambda key: (shares[key] - quotas[key], key))
        for key in by_remainder[: left - sum(shares.values())]:
            shares[key] += 1
        for key, share in shares.items():
            taken = min(share, available[key] - given[key])
            given[key] += taken
            left -= taken
    return given


def with_cells(
    rows: "pl.DataFrame", production: "pl.DataFrame", canonical: Callable[[str], str]
) -> "tuple[pl.DataFrame, pl.DataFrame]":
    """Both frames with more columns: `canonical` answer, `label` (that, or empty) and `cell` (slices and label).

    `rows` has answer, slices and stratum; `production` has answer, slices and calls.
    """
    import polars as pl

    counted = production.with_columns(canonical=each_distinct(production["answer"], canonical))
    often = counted.group_by("canonical").agg(pl.col("calls").sum()).filter(pl.col("calls") >= LABEL_CALLS)
    labels = often["canonical"].implode()

    def celled(frame: pl.DataFrame) -> pl.DataFrame:
        label = pl.when(pl.col("canonical").is_in(labels)).then("canonical").otherwise(pl.lit(""))
        return frame.with_columns(label=label).with_columns(cell=pl.concat_str("slices", pl.lit("\n"), "label"))

    return celled(rows.with_columns(canonical=each_distinct(rows["answer"], canonical))), celled(counted)


def each_distinct(texts: "pl.Series", function: Callable[[str], str]) -> "pl.Series":
    """A function of each text, called once a distinct one where texts come again and again."""
    import polars as pl

    distinct = texts.unique()
    if distinct.len() > texts.len() / 2:  # looking each up would cost more than it saves
        return pl.Series([function(text) for text in texts.to_list()], dtype=pl.String)
    values = {text: function(text) for text in distinct.to_list()}
    return pl.Series([values[text] for text in texts.to_list()], dtype=pl.String)


def choose(rows: "pl.DataFrame", production: "pl.DataFrame", config: BlendConfig) -> "pl.DataFrame":
    """The training set in its order, of the rows and production's calls that `with_cells` gives."""
    return rows[choose_places(rows, production, config)]


def choose_places(rows: "pl.DataFrame", production: "pl.DataFrame", config: BlendConfig) -> "pl.Series":
    """The places, among the rows, of those that `choose` gives, in its order."""
    import polars as pl

    narrow = rows.select(
        "signal", "signal_id", "source", "cell", "stratum", "cluster_id", "created_at", "is_replayed"
    ).with_columns(order=_orders(config.seed, rows["signal_id"]), place=pl.int_range(pl.len()))
    corrections = _corrections(narrow.filter(pl.col("signal") == "correction"), config)
    demonstrations = narrow.filter(pl.col("signal") == "demonstration")
    supply = _supply(demonstrations, corrections, config)
    kept, wanted = sizes(corrections.height, sum(supply.values()), config)
    corrections = newest(corrections, kept)
    supply = _supply(demonstrations, corrections, config)
    chosen = pl.concat([corrections, _representative(demonstrations, corrections, wanted, supply, production, config)])
    return chosen.sort("order")["place"]


def sizes(corrections: int, demonstrations: int, config: BlendConfig) -> tuple[int, int]:
    """How many of the corrections and of the demonstrations that there are fit the ratio, the bound and the maximum."""
    ratio, share = config.demonstrations_per_correction, config.corrections_share
    most = corrections + demonstrations if config.max_rows is None else config.max_rows
    if ratio == "all":
        kept = min(corrections, int(most * share + 1e-9))
        wanted = min(demonstrations, most - kept)
    else:
        kept = min(corrections, int(most / (1 + ratio) + 1e-9)) if config.max_rows is not None else corrections
        wanted = min(demonstrations, math.ceil(ratio * kept - 1e-9), most - kept)
    if share < 1.0:
        kept = min(kept, int(wanted * share / (1 - share) + 1e-9))
    return kept, wanted


def newest(rows: "pl.DataFrame", count: int) -> "pl.DataFrame":
    """So many of the rows, of each cluster its share; what no round has trained on yet comes first, then the newest."""
    import polars as pl

    if count >= rows.height:
        return rows
    rows = rows.with_columns(stratum_key=pl.col("cluster_id").fill_null(""))
    by = [pl.col("is_replayed"), pl.col("created_at"), pl.col("order")]
    ordered = rows.sort(by, descending=[False, True, False])
    available = dict(rows["stratum_key"].value_counts().iter_rows())
    return _heads(ordered, "stratum_key", apportion(count, available, available)).drop("stratum_key")


def _corrections(rows: "pl.DataFrame", config: BlendConfig) -> "pl.DataFrame":
    """The corrections without those that are not replayed, and within the sources' caps."""
    import polars as pl

    earlier = rows.filter(pl.col("is_replayed"))
    rows = pl.concat([rows.filter(~pl.col("is_replayed")), newest(earlier, round(config.replay * earlier.height))])
    for source in config.sources:
        if source.cap is not None:
            own = pl.col("source") == source.name
            rows = pl.concat([rows.filter(~own), newest(rows.filter(own), source.cap)])
    return rows


def _supply(demonstrations: "pl.DataFrame", corrections: "pl.DataFrame", config: BlendConfig) -> dict[str, int]:
    """How many demonstrations each source may give."""
    supply = dict(demonstrations["source"].value_counts().iter_rows())
    taken = dict(corrections["source"].value_counts().iter_rows())
    for source in config.sources:
        if source.name in supply and source.cap is not None:
            supply[source.name] = max(0, min(supply[source.name], source.cap - taken.get(source.name, 0)))
        if source.name in supply and 0 in (source.share, source.weight):
            supply[source.name] = 0
    return supply


def _representative(
    demonstrations: "pl.DataFrame",
    corrections: "pl.DataFrame",
    count: int,
    supply: Mapping[str, int],
    production: "pl.DataFrame",
    config: BlendConfig,
) -> "pl.DataFrame":
    """So many demonstrations, by source as the config says and within that by cell: with them all is as production."""
    import polars as pl

    calls = dict(production.group_by("cell").agg(pl.col("calls").sum()).iter_rows())
    if config.sources:
        sizes_of = dict(demonstrations["source"].value_counts().iter_rows())
        counts = apportion(count, _source_weights(sizes_of, config), supply)
        own = {name: pl.col("source") == name for name in counts}
        parts = [(demonstrations.filter(own[name]), corrections.filter(own[name]), counts[name]) for name in counts]
    else:
        parts = [(demonstrations, corrections, count)]
    return pl.concat([demonstrations.clear(), *(_as_production_is(*part, calls) for part in parts)])


def _source_weights(sizes_of: Mapping[str, int], config: BlendConfig) -> dict[str, float]:
    """The share of the demonstrations that each source is to give."""
    named = {source.name: source for source in config.sources}
    shares = {name: named[name].share for name in sizes_of if name in named and named[name].share is not None}
    left = max(0.0, 1.0 - sum(share or 0.0 for share in shares.values()))
    mass = {
        name: size * (1.0 if name not in named or named[name].weight is None else float(named[name].weight or 0.0))
        for name, size in sizes_of.items()
        if name not in shares
    }
    total = sum(mass.values()) or 1.0
    return {name: share or 0.0 for name, share in shares.items()} | {n: left * m / total for n, m in mass.items()}


def _as_production_is(
    rows: "pl.DataFrame", corrections: "pl.DataFrame", count: int, calls: Mapping[str, int]
) -> "pl.DataFrame":
    import polars as pl

    is_given = pl.col("stratum").is_null()
    rows = rows.with_columns(pool=pl.when(is_given).then(pl.lit(GIVEN)).otherwise("cell"))
    available = dict(rows["pool"].value_counts().iter_rows())
    given = count * available.get(GIVEN, 0) / max(1, rows.height)
    taken = dict(corrections["cell"].value_counts().iter_rows())
    weights = cell_weights(calls, taken, count - given) | {GIVEN: given}
    return _heads(rows.sort("order"), "pool", apportion(count, weights, available)).drop("pool")


def cell_weights(calls: Mapping[str, int], corrections: Mapping[str, int], demonstrations: float) -> dict[str, float]:
    """How many of the demonstrations each cell is to have, so that with the corrections all is as production is.

    Where there are many corrections fewer demonstrations are needed, but no weight falls below FEWEST of what it would
    be otherwise: what the model gets right there needs protection too.
    """
    shares = {cell: number / sum(calls.values()) for cell, number in calls.items()}
    rows = demonstrations + sum(corrections.values())
    wanted = {
        cell: max(share * rows - corrections.get(cell, 0), FEWEST * share * demonstrations)
        for cell, share in shares.items()
    }
    scale = demonstrations / (sum(wanted.values()) or 1.0)
    return {cell: scale * number for cell, number in wanted.items()}


def _heads(ordered: "pl.DataFrame", key: str, counts: Mapping[str, int]) -> "pl.DataFrame":
    """Of each key's rows so many as are counted for it, the first in order."""
    import polars as pl

    schema = {key: pl.String, "most": pl.Int64}
    most = pl.DataFrame(list(counts.items()), schema=schema, orient="row")
    ranked = ordered.with_columns(rank=pl.int_range(pl.len()).over(key)).join(most, on=key, how="left")
    return ranked.filter(pl.col("rank") < pl.col("most")).drop("rank", "most")


def distances(rows: "pl.DataFrame", production: "pl.DataFrame") -> dict[str, float]:
    """How far the rows that production gave are from production: total variation (0 to 1) of slices, labels, clusters.

    Corrections are raised: the distance of clusters is at least what they are more than production's failures.
    """
    import polars as pl

    own = rows.filter(pl.col("stratum").is_not_null()).with_columns(calls=pl.lit(1))
    failed = pl.when(pl.col("signal") == "correction").then(pl.col("cluster_id").fill_null(""))
    own = own.with_columns(cluster_id=failed)
    return {
        name: total_variation(_shares(own, column), _shares(production, column))
        for name, column in (("slices", "slices"), ("labels", "label"), ("clusters", "cluster_id"))
    }


def total_variation(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Half the sum of the differences of two distributions, four decimals."""
    return round(sum(abs(one.get(key, 0.0) - other.get(key, 0.0)) for key in one.keys() | other.keys()) / 2, 4)


def _shares(rows: "pl.DataFrame", column: str) -> dict[str, float]:
    import polars as pl

    counts = rows.group_by(pl.col(column).fill_null(SUCCESS)).agg(pl.col("calls").sum())
    total = counts["calls"].sum() or 1
    return {key: calls / total for key, calls in counts.iter_rows()}


def _orders(seed: int, signal_ids: "pl.Series") -> "pl.Series":
    """64 bits of a hash for each: numbers are sorted many times faster than texts."""
    import numpy as np
    import polars as pl

    keys = pl.select(pl.concat_str(pl.lit(f"{seed}/"), signal_ids).cast(pl.Binary)).to_series().to_list()
    digests = b"".join([hashlib.sha256(key).digest() for key in keys])
    return pl.Series(np.frombuffer(digests, ">u8")[::4].astype(np.uint64), dtype=pl.UInt64)
