-- Input: incoming(old_path, new_path). Where the adapters of versions are from now on.
update versions set adapter_path = incoming.new_path from incoming where versions.adapter_path = incoming.old_path;
