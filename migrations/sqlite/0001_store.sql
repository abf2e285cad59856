-- Topology, messages with their bodies, leases, idempotency records.
-- Moments are milliseconds since 1970 UTC in broker time. 0 and '' stand for
-- "none": the driver binds NULL at several times the cost.

CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    secret BLOB NOT NULL,             -- key of the receipts' check
    epoch INTEGER NOT NULL,           -- a restored backup begins a new one
    tag INTEGER NOT NULL,             -- the store's mark in message ids
    next_message INTEGER NOT NULL,    -- numbers are never used twice
    next_lease INTEGER NOT NULL,
    next_queue INTEGER NOT NULL,
    next_binding INTEGER NOT NULL,
    latest_at INTEGER NOT NULL        -- broker time never steps back behind it
) STRICT;

CREATE TABLE exchange (
    name TEXT PRIMARY KEY,
    settings TEXT NOT NULL            -- JSON
) STRICT, WITHOUT ROWID;

CREATE TABLE queue (
    id INTEGER PRIMARY KEY,           -- never used again: a queue of the same name made later is another
    name TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL,           -- JSON
    published INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    acked INTEGER NOT NULL DEFAULT 0,
    nacked INTEGER NOT NULL DEFAULT 0,
    expired INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    purged INTEGER NOT NULL DEFAULT 0,
    dead_lettered INTEGER NOT NULL DEFAULT 0,
    moved_in INTEGER NOT NULL DEFAULT 0,
    moved_out INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE binding (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    queue TEXT,
    exchange TEXT,
    routing_key TEXT NOT NULL,
    match TEXT,
    headers TEXT,                     -- JSON
    CHECK ((queue IS NULL) <> (exchange IS NULL))
) STRICT;

-- One row a copy. Ids ascend over the whole store: a publish appends. There is no
-- index: which messages are ready, leased or due is the machine's to know.
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    queue_id INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    size INTEGER NOT NULL,            -- bytes of the body
    published_at INTEGER NOT NULL,
    visible_at INTEGER NOT NULL,      -- delayed until then
    expires_at INTEGER NOT NULL,
    ttl_ms INTEGER NOT NULL,          -- its own time to live, for when it is redriven
    message_group TEXT NOT NULL,
    deliveries INTEGER NOT NULL,      -- leases handed out, but for one that holds it now
    failures INTEGER NOT NULL,
    lease_id INTEGER NOT NULL,        -- the newest lease that ended for it
    standing INTEGER NOT NULL,        -- 0 here, 1 that lease ran out, 2 dead
    first INTEGER NOT NULL,           -- id of the publish's first copy
    body_id INTEGER NOT NULL,         -- 0: the body is in this row
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    properties TEXT NOT NULL,         -- inside of a JSON object, handed out as it came in
    deaths TEXT NOT NULL,             -- inside of a JSON array
    body BLOB NOT NULL
) STRICT;

-- The body of a publish to several queues, once.
CREATE TABLE body (
    id INTEGER PRIMARY KEY,           -- id of the publish's first copy
    refs INTEGER NOT NULL CHECK (refs >= 0),
    body BLOB NOT NULL
) STRICT;

CREATE TRIGGER message_deleted AFTER DELETE ON message WHEN old.body_id <> 0
BEGIN
    UPDATE body SET refs = refs - 1 WHERE id = old.body_id;
    DELETE FROM body WHERE id = old.body_id AND refs = 0;
END;

-- One row a receive, gone when all of it is settled. A message is leased if a
-- lease newer than its row's lease_id names it.
CREATE TABLE lease (
    id INTEGER PRIMARY KEY,
    queue_id INTEGER NOT NULL,
    consumer TEXT NOT NULL,
    until INTEGER NOT NULL,           -- of all members, or 0 where `untils` tells it of each
    members BLOB NOT NULL,            -- message ids, 8 bytes each, little-endian
    untils BLOB NOT NULL
) STRICT;

-- What was answered to publishes with an idempotency key, for a while.
CREATE TABLE idempotency (
    id INTEGER PRIMARY KEY,           -- in the order in which they were made
    scope TEXT NOT NULL,              -- x:exchange, q:queue id, b: before it for a whole batch, t: transactions, r:reply address
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    answer TEXT NOT NULL,             -- JSON
    until INTEGER NOT NULL,
    UNIQUE (scope, key)
) STRICT;

-- Messages that are gone but whose rows are still to be removed, bit by bit:
-- those of a deleted queue, or the purged ones of a queue that lives on.
CREATE TABLE reclaim (
    id INTEGER PRIMARY KEY,
    queue_id INTEGER NOT NULL,
    next_id INTEGER NOT NULL,         -- message id that the work has come to
    runs BLOB NOT NULL                -- message ids from, to, from, to ...: 8 bytes each, little-endian
) STRICT;
