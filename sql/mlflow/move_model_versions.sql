-- Parameters: $old, $new. Artifacts under one address are under another. (MLflow's own database.)
update model_versions set storage_location = $new || substr(storage_location, length($old) + 1) where storage_location = $old or substr(storage_location, 1, length($old) + 1) = $old || '/';
