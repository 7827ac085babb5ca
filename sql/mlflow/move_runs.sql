-- Parameters: $old, $new. Artifacts under one address are under another. (MLflow's own database.)
update runs set artifact_uri = $new || substr(artifact_uri, length($old) + 1) where artifact_uri = $old or substr(artifact_uri, 1, length($old) + 1) = $old || '/';
