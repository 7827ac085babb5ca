"""What `flywheel doctor` looks at in the state: lock, schema and counts, the round, the clock, the champion's files."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.adapters import check_base
from tasks.checkup import Check, ok, warning, wrong
from tasks.config import Config
from tasks.db import Row, State, newest_schema
from tasks.engine import checked_adapter
from tasks.errors import FlywheelError
from tasks.leases import is_alive
from tasks.records import now

LOCK_SECONDS = 5.0
SKEW = timedelta(minutes=1)  # so far may the clocks of two machines be apart


def check_state(config: Config, options: str) -> Iterator[Check]:
    """The database, and what it says of rounds, moves and versions; nothing is made where there is none."""
    state = State(config.database)
    if state.half_restored.is_file():
        yield wrong("state", "a restore was cut short", f"flywheel restore FILE{options}, with the same file")
        return
    if not config.database.is_file():
        yield ok("state", f"nothing has been collected yet: flywheel run collect_failures{options}")
        return
    try:
        with FileLock(config.database.with_suffix(".lock"), timeout=LOCK_SECONDS):
            pass
    except Timeout:
        found = f"{config.database} has been in use by another process for {LOCK_SECONDS:.0f} s"
        yield warning("state", found, "wait for it, or see who it is: fuser -v " + str(config.database))
        return
    with state.transaction() as tx:
        counts, open_round = tx.rows("count_state")[0], tx.row("open_round")
        moves, champion = tx.rows("list_unfinished_moves"), tx.row("get_champion")
        rounds, versions = tx.rows("list_rounds"), tx.rows("list_versions")
        snapshots = {row["snapshot_hash"]: row["path"] for row in tx.rows("list_version_snapshots")}
    yield ok("state", f"{config.database}, schema {newest_schema()}, not locked")
    yield _counts(counts)
    yield _round(open_round, options)
    yield from _moves(moves, options)
    yield _clock(rounds)
    yield from _champion(config, champion["to_version"] if champion else None, versions, options)
    yield _files(versions, snapshots, options)


def _counts(counts: Row) -> Check:
    said = f"{counts['read']} rows read = {counts['stored']} stored + {counts['known']} known"
    said += f" + {counts['quarantined']} quarantined"
    if counts["reconciles"]:
        return ok("counts", said)
    return wrong(
        "counts", f"{said}, which is not what the tables hold", "flywheel restore FILE, from before this was so"
    )


def _round(row: Row | None, options: str) -> Check:
    if row is None:
        return ok("round", "none is unfinished")
    said = f"round {row['round_id']} is at {row['stage']}"
    if is_alive(row):
        return ok("round", f"{said}, run by {row['lease_owner']}")
    if row["stage"] == "approve":
        return ok("round", f"{said}: it waits for a person, see flywheel status{options}")
    return warning(
        "round", f"{said}, and nobody runs it", f"flywheel run run_round{options}; or flywheel abandon{options}"
    )


def _moves(moves: list[Row], options: str) -> Iterator[Check]:
    if not moves:
        yield ok("moves", "none of the champion's was interrupted")
    for move in moves:
        target = f"v{move['to_version']}" if move["to_version"] else "base"
        said = f"a move to {target} by {move['moved_by']} was intended and not made"
        again = f"flywheel run run_round{options}" if move["moved_by"] == "gate" else None
        promote = f"flywheel promote {target} --by YOU --reason TEXT{options}"
        yield warning("moves", said, f"{again} makes it again; or {promote}" if again else promote)


def _clock(rounds: list[Row]) -> Check:
    limit = now() + SKEW
    ahead = [row for row in rounds if max(row["opened_at"], row["stage_started_at"]) > limit]
    if not ahead:
        return ok("clock", f"{now():%Y-%m-%d %H:%M:%S} UTC, nothing on record is later")
    last, moment = ahead[-1], "%Y-%m-%d %H:%M:%S"
    said = f"it is {now():{moment}} UTC, and round {last['round_id']} was begun at {last['stage_started_at']:{moment}}"
    return wrong("clock", said, "timedatectl status, and set this machine's clock")


def _champion(config: Config, version: str | None, versions: list[Row], options: str) -> Iterator[Check]:
    """The champion's adapter: there, the recorded one, and of this base."""
    if version is None:
        yield ok("champion", "the base model, without an adapter")
        return
    row = next((row for row in versions if row["version"] == version), None)
    if row is None:
        yield wrong("champion", f"v{version} is not among the versions", f"flywheel status{options}")
        return
    try:
        checked_adapter(row["adapter_path"], row["adapter_sha256"])
        check_base(Path(row["adapter_path"]), config.model.base)
    except (FlywheelError, OSError) as error:
        yield wrong("champion", f"v{version}: {error}", f"flywheel restore FILE{options}; or promote another version")
        return
    yield ok("champion", f"v{version}, its adapter is the recorded one ({row['adapter_sha256'][:12]}) and of this base")


def _files(versions: list[Row], snapshots: dict[str, str], options: str) -> Check:
    """Whether everything that a version was made of is still there."""
    gone = [f"the adapter of v{row['version']}" for row in versions if not Path(row["adapter_path"]).is_dir()]
    gone += [
        f"the snapshot of v{row['version']}" for row in versions if not Path(snapshots[row["snapshot_hash"]]).is_file()
    ]
    if gone:
        return wrong(
            "versions", f"missing: {', '.join(gone)}", f"flywheel restore FILE{options}; or take MLflow's copies"
        )
    return ok("versions", f"{len(versions)}, all with adapter and snapshot")
