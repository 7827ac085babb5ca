-- Which class each failure that no round has looked at yet would join, as last found. Grain: one row a failed inference; a
-- null cluster is none of those there are. Written anew as a whole; a round decides (cluster_members), and then this row
-- counts for nothing. seen_as: hash of how the call failed; found_by: hash of encoder, options and the last round's classes.
create table provisional_members (
    inference_id text primary key,
    cluster_id text,
    seen_as text not null,
    found_by text not null
);
