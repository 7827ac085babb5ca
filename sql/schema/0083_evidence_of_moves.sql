-- What a move of the champion rested on: the hash of the version's evidence at that moment (tasks/promote.py). Null where the
-- target is the bare base model, and for moves made before this column.
alter table promotions add column evidence_sha256 text;
