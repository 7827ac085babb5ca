-- What gave an outcome: hash of model, decoding and engine. Equal hashes answer a case alike, so it need not be asked again.
alter table case_results add column answered_by text;
