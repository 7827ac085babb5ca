-- Parameters: one row of cluster_labels.
insert into cluster_labels values ($cluster_id, $label, $set_by, $set_at);
