-- What was proposed before is proposed anew.
delete from proposals;
