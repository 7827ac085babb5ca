-- Input: incoming(old_path, new_path). Where the files of snapshots are from now on.
update snapshots set path = incoming.new_path from incoming where snapshots.path = incoming.old_path;
