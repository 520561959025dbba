#include "store/operations.hpp"

#include "store/dead_letter_queue.hpp"

namespace saga::store {

namespace {

constinit pg::Statement kFind{
    "SELECT 0, topic_id, xid FROM saga.event_v1 WHERE event_id = $1"
    " UNION ALL SELECT 1, topic_id, NULL FROM saga.staged_v1 WHERE event_id = $1"
    " UNION ALL SELECT 2, topic_id, NULL FROM saga.dead_letter_v1 WHERE event_id = $1 AND subscription_id IS NULL"
    " UNION ALL SELECT 3, topic_id, NULL FROM saga.parked_v1 WHERE event_id = $1"
    " UNION ALL SELECT 3, topic_id, NULL FROM saga.dead_letter_v1 WHERE event_id = $1 AND subscription_id IS NOT NULL"
    " LIMIT 1"};

// A lane that has passed an event without a trace started behind it, or was moved behind it.
constinit pg::Statement kStates{
    "SELECT c.consumer_group,"
    "       coalesce(c.status, CASE WHEN l.era > c.era OR (l.era = c.era AND (pg_visible_in_snapshot(c.xid, l.read_snapshot)"
    "            OR (pg_visible_in_snapshot(c.xid, l.window_snapshot) AND c.\"offset\" <= l.last_position)))"
    "          THEN 'NOT_DELIVERED' ELSE 'PENDING' END),"
    "       c.retry_count, c.max_retries, c.waiting_for, c.due_at, c.processed_at, c.processing_time_ms,"
    "       c.error_message, c.result"
    "  FROM saga.consumption c JOIN saga.subscription s ON s.subscription_id = c.subscription_id"
    "  LEFT JOIN LATERAL ("
    "       SELECT v.era, v.window_snapshot, v.last_position,"
    "              CASE WHEN v.window_done THEN v.window_snapshot ELSE v.previous_snapshot END AS read_snapshot"
    "         FROM saga.progress_v1 v WHERE v.subscription_id = s.subscription_id"
    "          AND v.partition_number = CASE WHEN s.ordering = 'topic' THEN -1 ELSE c.partition_number END::int2"
    "        ORDER BY v.number DESC LIMIT 1) l ON true"
    " WHERE c.event_id = $1 AND ($2 IS NULL OR c.consumer_group = $2)"
    " ORDER BY c.consumer_group"};

constinit pg::Statement kTrace{
    "SELECT e.event_id, e.external_id, t.topic, e.event_key, e.event_type, c.consumer_group,"
    "       coalesce(c.status, CASE WHEN e.place = 'invalid' THEN 'INVALID' ELSE 'PENDING' END), c.retry_count,"
    "       e.causation_id, e.\"position\", e.published_at, c.processed_at, c.processing_time_ms,"
    "       coalesce(c.error_message, e.error_message), e.depth, e.topic_id"
    "  FROM (SELECT v.event_id, v.external_id, v.topic_id, v.event_key, v.event_type, v.causation_id, v.\"position\","
    "               v.published_at, v.depth::int AS depth, NULL::text AS error_message, 'log' AS place"
    "          FROM saga.event_v1 v WHERE v.correlation_id = $1"
    "        UNION ALL"
    "        SELECT v.event_id, v.external_id, v.topic_id, v.event_key, v.event_type, v.causation_id, v.\"position\","
    "               v.published_at, v.depth::int, NULL, 'log'"
    "          FROM saga.event_v1 v WHERE v.event_id = $2 AND v.correlation_id IS DISTINCT FROM $1"
    "        UNION ALL"
    "        SELECT g.event_id, g.external_id, g.topic_id, g.event_key, g.event_type, NULL, NULL, NULL, 0, NULL, 'staged'"
    "          FROM saga.staged_v1 g WHERE g.event_id = $2"
    "        UNION ALL"
    "        SELECT d.event_id, d.external_id, d.topic_id, d.event_key, d.event_type, NULL, NULL, NULL, 0,"
    "               d.error_message, 'invalid'"
    "          FROM saga.dead_letter_v1 d WHERE d.event_id = $2 AND d.subscription_id IS NULL"
    "           AND d.settled_as IS DISTINCT FROM 'replayed') e"
    "  JOIN saga.topic t ON t.topic_id = e.topic_id"
    "  LEFT JOIN LATERAL (SELECT k.* FROM saga.consumption k WHERE k.event_id = e.event_id AND e.place = 'log' OFFSET 0) c"
    "         ON true"
    " ORDER BY e.\"position\" NULLS LAST, c.consumer_group"};

#define SAGA_OF_LANES                                                                   \
  " FROM saga.lane l JOIN saga.subscription s ON s.subscription_id = l.subscription_id" \
  " WHERE ($1 IS NULL OR l.topic_id = $1) AND ($2 IS NULL OR s.consumer_group = $2)"
#define SAGA_UNREAD                                                                               \
  "e.topic_id = l.topic_id AND e.partition_number = ANY (l.partitions)"                           \
  " AND (l.event_types IS NULL OR e.event_type = ANY (l.event_types))"                            \
  " AND (l.not_before IS NULL OR e.published_at >= l.not_before)"                                 \
  " AND (l.era < e.era OR l.window_done OR NOT (pg_visible_in_snapshot(e.xid, l.window_snapshot)" \
  "                                             AND e.\"position\" <= l.last_position))"

// 3: the deadline. A follower in a key's queue goes with its head; a retry that is due by then is work.
constinit pg::Statement kAnyWork{
    "SELECT EXISTS (SELECT " SAGA_OF_LANES "   AND (EXISTS (SELECT FROM saga.event_v1 e WHERE " SAGA_UNREAD
    "                   AND e.era = l.era AND e.xid >= pg_snapshot_xmax(l.read_snapshot))"
    "     OR EXISTS (SELECT FROM saga.event_v1 e WHERE " SAGA_UNREAD
    "                   AND e.era = l.era AND e.xid = ANY (ARRAY(SELECT pg_snapshot_xip(l.read_snapshot))))"
    "     OR (SELECT i.era FROM saga.installation i) > l.era"
    "        AND EXISTS (SELECT FROM saga.event_v1 e WHERE " SAGA_UNREAD
    "                       AND e.era > l.era)"
    "     OR EXISTS (SELECT FROM saga.parked_v1 p WHERE p.subscription_id = l.subscription_id"
    "                   AND p.partition_number = l.partition_number::int2"
    "                   AND (p.waiting_for IN ('retry', 'replay', 'suspect') AND p.due_at <= $3"
    "                     OR p.waiting_for IN ('snooze', 'delay') AND p.due_at <= pg_catalog.clock_timestamp()"
    "                     OR p.waiting_for = 'key' AND NOT EXISTS (SELECT FROM saga.parked_v1 h"
    "                          WHERE h.subscription_id = p.subscription_id AND h.partition_number = p.partition_number"
    "                            AND h.event_key = p.event_key AND h.parked_id < p.parked_id"
    "                            AND (h.holds_key OR h.waiting_for = 'key'))))))"};

#undef SAGA_OF_LANES
#undef SAGA_UNREAD

constinit pg::Statement kLock{
    "SELECT partition_number, slot, parked_id, event_key, holds_key, attempts, waiting_for,"
    "       pg_catalog.jsonb_build_object('waiting_for', waiting_for, 'attempts', attempts, 'holds_key', holds_key,"
    "         'event_key', event_key, 'due_at', due_at, 'error_message', error_message)::text"
    "  FROM saga.parked_v1 WHERE event_id = $1 AND subscription_id = $2 FOR UPDATE SKIP LOCKED"};

constinit pg::Statement kIsParked{"SELECT 1 FROM saga.parked_v1 WHERE event_id = $1 AND subscription_id = $2"};

constinit pg::Statement kHead{
    "SELECT event_id FROM saga.parked_v1 WHERE subscription_id = $1 AND event_key = $2"
    "   AND (holds_key OR waiting_for = 'key') ORDER BY parked_id LIMIT 1"};

constinit pg::Statement kMakeDue{
    "UPDATE saga.parked_v1 SET due_at = pg_catalog.clock_timestamp()"
    " WHERE subscription_id = $1 AND partition_number = $2::int2 AND slot = $3::int2 AND parked_id = $4"};

std::optional<TimestampTz> optional_time(const pg::Row &row, int column) {
  if (row.is_null(column)) return std::nullopt;
  return row.time(column);
}

}  // namespace

std::optional<KnownEvent> find_event(const domain::Uuid &id) {
  const pg::Rows rows = pg::run(kFind, {pg::param(id)});
  if (rows.empty()) return std::nullopt;
  KnownEvent event;
  event.place = static_cast<EventPlace>(rows[0].i32(1));
  event.topic_id = rows[0].i32(2);
  if (!rows[0].is_null(3)) event.xid = rows[0].xid8(3);
  return event;
}

std::vector<GroupState> states_of(const domain::Uuid &id, const std::optional<std::string> &consumer_group) {
  const pg::Rows rows = pg::run(kStates, {pg::param(id), pg::param_text(consumer_group)});
  std::vector<GroupState> states;
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    const pg::Row row = rows[i];
    GroupState state;
    state.consumer_group = row.text(1);
    state.status = row.text(2);
    state.attempts = row.i32(3);
    state.max_attempts = row.i32(4);
    state.waiting_for = row.optional_text(5);
    state.due_at = optional_time(row, 6);
    state.processed_at = optional_time(row, 7);
    if (!row.is_null(8)) state.processing_ms = row.f64(8);
    state.error_message = row.optional_text(9);
    state.result = row.optional_datum(10);
    states.push_back(std::move(state));
  }
  return states;
}

pg::Rows trace(const std::string &correlation_id) {
  return pg::run(kTrace, {pg::param(std::string_view(correlation_id)), pg::param(domain::event_id_of(correlation_id))});
}

bool any_work(std::optional<int> topic_id, const std::optional<std::string> &consumer_group, TimestampTz deadline) {
  const pg::Rows rows = pg::run(kAnyWork, {topic_id ? pg::param(*topic_id) : pg::null_of(INT4OID),
                                           pg::param_text(consumer_group), pg::param_time(deadline)});
  return rows[0].boolean(1);
}

LockResult lock_parked(const Subscription &subscription, const domain::Uuid &id, LockedEvent &locked) {
  const pg::Rows rows = pg::run(kLock, {pg::param(id), pg::param(subscription.id)});
  if (rows.empty()) {
    return pg::run(kIsParked, {pg::param(id), pg::param(subscription.id)}).empty() ? LockResult::Missing
                                                                                   : LockResult::Busy;
  }
  const pg::Row row = rows[0];
  locked.lane = {subscription.id, row.i16(1)};
  locked.event.ref = {id, static_cast<std::uint16_t>(row.i16(2))};
  locked.event.parked_id = row.i64(3);
  locked.event.key = row.optional_text(4);
  locked.event.holds_key = row.boolean(5);
  locked.event.attempts = row.i32(6);
  locked.waiting_for = row.text(7);
  locked.state = row.text(8);
  return LockResult::Locked;
}

std::optional<domain::Uuid> head_of_key(const Subscription &subscription, std::string_view key) {
  const pg::Rows rows = pg::run(kHead, {pg::param(subscription.id), pg::param(key)});
  if (rows.empty()) return std::nullopt;
  return rows[0].uuid(1);
}

void make_due(const LockedEvent &locked) {
  pg::run(kMakeDue, {pg::param(locked.lane.subscription_id), pg::param(std::int32_t{locked.lane.partition}),
                     pg::param(std::int32_t{locked.event.ref.slot}), pg::param(locked.event.parked_id)});
}

void end_parked(const Subscription &subscription, const LockedEvent &locked, std::string_view status,
                const std::optional<std::string> &reason) {
  OutcomeRow outcome;
  outcome.event = locked.event.ref;
  outcome.status = status;
  outcome.attempts = locked.event.attempts;
  if (reason) outcome.reason = *reason;
  append_outcome(subscription, outcome);
  unpark(subscription, locked.lane, locked.event);
  if (locked.waiting_for == name(WaitingFor::Halt)) {
    settle_dead_letters_of(locked.event.ref.id, subscription.id, status == "SKIPPED" ? "skipped" : "cancelled");
  }
  if (locked.event.key) release_queue(subscription, locked.lane, *locked.event.key);
}

}  // namespace saga::store
