-- From here on, statements on this connection may write rows in another order than they read them, so that all threads
-- write; rows have no place in a table.
set preserve_insertion_order = false;
