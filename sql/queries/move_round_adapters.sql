-- Input: incoming(old_path, new_path). Where the adapters of rounds are from now on.
update rounds set adapter_path = incoming.new_path from incoming where rounds.adapter_path = incoming.old_path;
