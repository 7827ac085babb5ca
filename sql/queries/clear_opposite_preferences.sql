-- What was decided before is decided anew.
delete from opposite_preferences;
