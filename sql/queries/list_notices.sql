-- Everything that was noticed, oldest first.
select * from notices order by notice_id;
