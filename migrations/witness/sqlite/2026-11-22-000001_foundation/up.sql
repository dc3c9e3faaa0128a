-- The store of a witness: what it cosigned last of each log, and what it refused although the log had signed it.
-- Times are microseconds since 1970 UTC. `proven`: the notes alone prove it, 1, or it is this witness's word, 0.

CREATE TABLE cosigned (
  origin TEXT NOT NULL PRIMARY KEY,
  size INTEGER NOT NULL,
  root BLOB NOT NULL,
  note TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER cosigned_forward BEFORE UPDATE ON cosigned
  WHEN NEW.size < OLD.size OR (NEW.size = OLD.size AND NEW.root IS NOT OLD.root) OR NEW.origin IS NOT OLD.origin
  BEGIN SELECT RAISE(ABORT, 'a witness never goes back'); END;
CREATE TRIGGER cosigned_kept BEFORE DELETE ON cosigned BEGIN SELECT RAISE(ABORT, 'a witness never forgets'); END;

CREATE TABLE refused (
  origin TEXT NOT NULL,
  size INTEGER NOT NULL,
  root BLOB NOT NULL,
  status INTEGER NOT NULL,
  cosigned_size INTEGER NOT NULL,
  proven INTEGER NOT NULL,
  evidence TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (origin, size, root, status)
) STRICT;
