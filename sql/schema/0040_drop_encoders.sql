-- Clusters are recognised by their members, whatever encoder finds them.
alter table clusters drop column encoder;
