-- Keys: group_hash. What opposite opinions were found on in this round, whether one of them stands or none.
select distinct group_hash from opposite_preferences;
