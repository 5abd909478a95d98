-- cfp goes into a schema of its own; the database's search_path finds it.
CREATE SCHEMA cfp;
CREATE EXTENSION cfp SCHEMA cfp;
ALTER DATABASE demo SET search_path = public, cfp;
