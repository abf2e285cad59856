-- Temporary tables, in memory: what stands packed in blobs, unpacked.

-- name: unpack
CREATE TEMP TABLE held (lease_id INTEGER NOT NULL, queue_id INTEGER NOT NULL, message_id INTEGER NOT NULL);
CREATE TEMP TABLE span (reclaim_id INTEGER NOT NULL, queue_id INTEGER NOT NULL, low INTEGER NOT NULL,
                        high INTEGER NOT NULL);
CREATE TEMP TABLE gone (id INTEGER PRIMARY KEY);

-- name: leases
SELECT id, queue_id, members, untils, until FROM lease;

-- name: ran_out
-- Whether this message is one for which this lease ran out.
SELECT count(*) FROM message WHERE id = ? AND lease_id = ? AND standing = 1;

-- name: reclaims
SELECT id, queue_id, next_id, runs FROM reclaim;

-- name: add_held
INSERT INTO held VALUES (?, ?, ?);

-- name: add_span
INSERT INTO span VALUES (?, ?, ?, ?);

-- name: index
CREATE INDEX temp.held_message ON held (message_id, lease_id);
CREATE INDEX temp.span_queue ON span (queue_id, high, low);

-- name: add_gone
INSERT INTO gone
SELECT id FROM message
WHERE (SELECT low FROM span WHERE span.queue_id = message.queue_id AND high >= id ORDER BY high LIMIT 1) <= id;

-- name: all_live
CREATE TEMP VIEW live AS SELECT id, queue_id, lease_id, standing FROM message;

-- name: some_live
CREATE TEMP VIEW live AS SELECT id, queue_id, lease_id, standing FROM message WHERE id NOT IN (SELECT id FROM gone);

-- name: counts
SELECT (SELECT count(*) FROM exchange), (SELECT count(*) FROM queue), (SELECT count(*) FROM binding),
       (SELECT count(*) FROM live), (SELECT count(*) FROM lease), (SELECT count(*) FROM idempotency),
       (SELECT count(*) FROM gone);
