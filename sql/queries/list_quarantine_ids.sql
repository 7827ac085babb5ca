-- Lines that lie in quarantine already.
select quarantine_id from quarantine;
