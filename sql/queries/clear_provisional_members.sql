-- They are written anew as a whole.
delete from provisional_members;
