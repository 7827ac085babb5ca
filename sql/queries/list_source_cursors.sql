-- Every part's cursor.
select source, part, cursor from source_cursors;
