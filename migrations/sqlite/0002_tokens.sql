-- Who may use the broker. Moments are milliseconds since 1970 UTC in broker time; 0 stands for "never" or "not yet".

CREATE TABLE token (
    id TEXT PRIMARY KEY,              -- public: it stands in the token that its holder shows
    name TEXT NOT NULL UNIQUE,
    digest BLOB NOT NULL,             -- SHA-256 of the token; the token itself is nowhere
    permissions TEXT NOT NULL,        -- JSON
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
