-- Every file's cursor.
select source, path, size_bytes, modified_ns from cursors;
