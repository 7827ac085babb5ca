-- Parameters: $old, $new. Artifacts under one address are under another. (MLflow's own database.)
update logged_models set artifact_location = $new || substr(artifact_location, length($old) + 1) where artifact_location = $old or substr(artifact_location, 1, length($old) + 1) = $old || '/';
