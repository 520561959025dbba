#include "store/parked.hpp"

namespace saga::store {

namespace {

constexpr std::array<std::string_view, 7> kWaitNames{"retry", "snooze", "delay", "key", "halt", "replay", "suspect"};

constinit pg::Statement kPark{
    "INSERT INTO saga.parked_v1 (subscription_id, partition_number, slot, parked_id, topic_id, generation, event_id,"
    "   event_key, waiting_for, holds_key, due_at, attempts, crashes, parked_at, first_failed_at, sqlstate,"
    "   error_message, error_stack, payload)"
    " VALUES ($1, $2::int2, $3::int2, pg_catalog.nextval('saga.parked_seq'), $4, $5, $6, $7, $8, $9,"
    // The first that waits behind a key is looked at each time: an operator may be freeing the key right now, unseen.
    "   CASE WHEN $8 = 'key' AND NOT EXISTS (SELECT FROM saga.parked_v1 q WHERE q.subscription_id = $1"
    "          AND q.partition_number = $2::int2 AND q.event_key = $7 AND q.waiting_for = 'key')"
    "        THEN pg_catalog.clock_timestamp() ELSE $10 END, $11, $12,"
    "   pg_catalog.clock_timestamp(), CASE WHEN $13 IS NOT NULL THEN pg_catalog.clock_timestamp() END, $13, $14, $15,"
    "   $16)"};

#define SAGA_PARKED_OUTPUT                                                                                  \
  "SELECT p.parked_id, p.event_id, p.slot, p.event_key, p.holds_key, p.waiting_for IN ('delay', 'replay')," \
  "  p.attempts, p.crashes, p.first_failed_at, e.published_at,"                                             \
  "  CASE WHEN e.event_id IS NOT NULL THEN"                                                                 \
  "  ROW(e.event_id, $3, e.event_key, e.event_type, coalesce(p.payload, e.payload),"                        \
  "      coalesce(e.correlation_id, e.external_id, e.event_id::text), e.causation_id,"                      \
  "      coalesce(e.metadata, '{}'::jsonb), e.service_name, e.published_at, e.partition_number::int,"       \
  "      e.\"position\", $4, p.attempts + 1, NULL::text, NULL::int)::saga.event END, e.external_id, coalesce(e.depth, 0::int2)"

constinit pg::Statement kDue{
    SAGA_PARKED_OUTPUT
    " FROM (SELECT * FROM saga.parked_v1 q WHERE q.subscription_id = $1 AND q.partition_number = $2::int2"
    "         AND q.due_at <= pg_catalog.clock_timestamp() AND q.waiting_for <> 'halt'"
    "         AND NOT (q.waiting_for = 'key' AND EXISTS (SELECT 1 FROM saga.parked_v1 f"
    "             WHERE f.subscription_id = q.subscription_id AND f.partition_number = q.partition_number"
    "               AND f.event_key = q.event_key AND f.parked_id < q.parked_id"
    "               AND (f.holds_key OR f.waiting_for = 'key')))"
    "       ORDER BY q.due_at, q.parked_id LIMIT $5 FOR UPDATE SKIP LOCKED) p"
    " LEFT JOIN saga.event_v1 e ON e.event_id = p.event_id AND e.slot = p.slot AND e.topic_id = p.topic_id"
    " ORDER BY p.parked_id"};

constinit pg::Statement kQueue{
    SAGA_PARKED_OUTPUT
    " FROM (SELECT * FROM saga.parked_v1 q WHERE q.subscription_id = $1 AND q.partition_number = $2::int2"
    "         AND q.event_key = $5 AND q.parked_id > $6 AND q.waiting_for = 'key'"
    "       ORDER BY q.parked_id LIMIT $7 FOR UPDATE) p"
    " LEFT JOIN saga.event_v1 e ON e.event_id = p.event_id AND e.slot = p.slot AND e.topic_id = p.topic_id"
    " ORDER BY p.parked_id"};

#undef SAGA_PARKED_OUTPUT

constinit pg::Statement kJoinQueue{
    "UPDATE saga.parked_v1 p SET waiting_for = 'key', parked_id = pg_catalog.nextval('saga.parked_seq'),"
    "       due_at = pg_catalog.clock_timestamp() + interval '1 hour'"
    " WHERE p.subscription_id = $1 AND p.partition_number = $2::int2 AND p.slot = $3::int2 AND p.parked_id = $4"
    "   AND EXISTS (SELECT 1 FROM saga.parked_v1 f WHERE f.subscription_id = $1 AND f.partition_number = $2::int2"
    "                  AND f.event_key = p.event_key AND f.parked_id <> p.parked_id"
    "                  AND (f.holds_key OR f.waiting_for = 'key'))"};

constinit pg::Statement kParkAgain{
    "UPDATE saga.parked_v1 SET waiting_for = $5, holds_key = $6, due_at = $7, attempts = $8, crashes = $9,"
    "   first_failed_at = CASE WHEN $10 IS NULL THEN first_failed_at"
    "                          ELSE coalesce(first_failed_at, pg_catalog.clock_timestamp()) END,"
    "   sqlstate = coalesce($10, sqlstate), error_message = coalesce($11, error_message),"
    "   error_stack = coalesce($12, error_stack)"
    " WHERE subscription_id = $1 AND partition_number = $2::int2 AND slot = $3::int2 AND parked_id = $4"};

constinit pg::Statement kUnpark{
    "DELETE FROM saga.parked_v1"
    " WHERE subscription_id = $1 AND partition_number = $2::int2 AND slot = $3::int2 AND parked_id = $4"};

constinit pg::Statement kReleaseQueue{
    "UPDATE saga.parked_v1 SET due_at = pg_catalog.clock_timestamp()"
    " WHERE subscription_id = $1 AND partition_number = $2::int2 AND waiting_for = 'key' AND event_key = $3"
    "   AND parked_id = (SELECT q.parked_id FROM saga.parked_v1 q WHERE q.subscription_id = $1"
    "                       AND q.partition_number = $2::int2 AND q.event_key = $3"
    "                       AND (q.holds_key OR q.waiting_for = 'key') ORDER BY q.parked_id LIMIT 1)"};

constinit pg::Statement kHeldAmong{
    "SELECT k FROM pg_catalog.unnest($3::text[]) k WHERE EXISTS (SELECT 1 FROM saga.parked_v1 q"
    " WHERE q.subscription_id = $1 AND q.partition_number = $2::int2 AND q.event_key = k"
    "   AND (q.holds_key OR q.waiting_for = 'key'))"};

constinit pg::Statement kQueueLength{
    "SELECT count(*) FROM (SELECT FROM saga.parked_v1 WHERE subscription_id = $1 AND partition_number = $2::int2"
    "   AND event_key = $3 AND (holds_key OR waiting_for = 'key') LIMIT $4) q"};

constinit pg::Statement kLaneWaits{
    "SELECT EXISTS (SELECT 1 FROM saga.parked_v1 WHERE subscription_id = $1 AND partition_number = $2::int2),"
    "       EXISTS (SELECT 1 FROM saga.parked_v1 WHERE subscription_id = $1 AND partition_number = $2::int2"
    "                  AND (holds_key OR waiting_for = 'key')),"
    // One that waits behind others is woken by their end; its own due time is looked at once, when it comes.
    "       (SELECT due_at FROM saga.parked_v1 WHERE subscription_id = $1 AND partition_number = $2::int2"
    "           AND waiting_for <> 'halt' AND (waiting_for <> 'key' OR due_at > pg_catalog.clock_timestamp())"
    "         ORDER BY due_at LIMIT 1)"};

pg::Param partition(const Lane &lane) { return pg::param(std::int32_t{lane.partition}); }
pg::Param slot(const EventRef &ref) { return pg::param(std::int32_t{ref.slot}); }

pg::Param error_field(const AttemptError *error, std::string AttemptError::*field) {
  return error == nullptr ? pg::null_of(TEXTOID) : pg::param(std::string_view(error->*field));
}

std::vector<ParkedEvent> read(const pg::Rows &rows, MemoryContext memory) {
  std::vector<ParkedEvent> events;
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    const pg::Row row = rows[i];
    ParkedEvent event;
    event.parked_id = row.i64(1);
    event.ref = {row.uuid(2), static_cast<std::uint16_t>(row.i16(3))};
    event.key = row.optional_text(4);
    event.holds_key = row.boolean(5);
    event.joins_key = row.boolean(6);
    event.attempts = row.i32(7);
    event.crashes = row.i32(8);
    if (!row.is_null(9)) event.first_failed_at = row.time(9);
    if (!row.is_null(10)) event.published_at = row.time(10);
    event.external_id = row.optional_text(12);
    event.depth = row.i16(13);
    if (const auto composite = row.optional_datum(11)) {
      pg::MemoryScope scope{memory};
      event.event = pg::call([&] { return datumCopy(*composite, false, -1); });
    }
    events.push_back(std::move(event));
  }
  return events;
}

}  // namespace

std::string_view name(WaitingFor what) noexcept { return kWaitNames[static_cast<std::size_t>(what)]; }

void park(const Subscription &subscription, const Lane &lane, const ParkRequest &r) {
  pg::run(kPark, {pg::param(subscription.id), partition(lane), slot(r.ref), pg::param(subscription.topic_id),
                  pg::param(subscription.generation), pg::param(r.ref.id), pg::param(r.key, TEXTOID),
                  pg::param(name(r.waiting_for)), pg::param(r.holds_key), pg::param_time(r.due_at),
                  pg::param(r.attempts), pg::param(r.crashes), error_field(r.error, &AttemptError::sqlstate),
                  error_field(r.error, &AttemptError::message), error_field(r.error, &AttemptError::context),
                  pg::param_jsonb(r.payload)});
}

std::vector<ParkedEvent> due_events(const Subscription &subscription, const Lane &lane, int limit,
                                    MemoryContext memory) {
  return read(
      pg::run(kDue, {pg::param(subscription.id), partition(lane), pg::param(std::string_view(subscription.topic)),
                     pg::param(std::string_view(subscription.consumer_group)), pg::param(limit)}),
      memory);
}

std::vector<ParkedEvent> queue_of_key(const Subscription &subscription, const Lane &lane, std::string_view key,
                                      std::int64_t after, int limit, MemoryContext memory) {
  return read(
      pg::run(kQueue, {pg::param(subscription.id), partition(lane), pg::param(std::string_view(subscription.topic)),
                       pg::param(std::string_view(subscription.consumer_group)), pg::param(key), pg::param(after),
                       pg::param(limit)}),
      memory);
}

bool join_queue(const Subscription &subscription, const Lane &lane, const ParkedEvent &event) {
  return pg::run(kJoinQueue, {pg::param(subscription.id), partition(lane), slot(event.ref), pg::param(event.parked_id)})
             .affected() == 1;
}

void park_again(const Subscription &subscription, const Lane &lane, const ParkedEvent &event, const ParkRequest &r) {
  pg::run(kParkAgain, {pg::param(subscription.id), partition(lane), slot(event.ref), pg::param(event.parked_id),
                       pg::param(name(r.waiting_for)), pg::param(r.holds_key), pg::param_time(r.due_at),
                       pg::param(r.attempts), pg::param(r.crashes), error_field(r.error, &AttemptError::sqlstate),
                       error_field(r.error, &AttemptError::message), error_field(r.error, &AttemptError::context)});
}

void unpark(const Subscription &subscription, const Lane &lane, const ParkedEvent &event) {
  pg::run(kUnpark, {pg::param(subscription.id), partition(lane), slot(event.ref), pg::param(event.parked_id)});
}

void release_queue(const Subscription &subscription, const Lane &lane, std::string_view key) {
  pg::run(kReleaseQueue, {pg::param(subscription.id), partition(lane), pg::param(key)});
}

std::vector<std::string> held_among(const Lane &lane, const std::vector<std::string> &keys) {
  std::vector<Datum> values;
  values.reserve(keys.size());
  for (const std::string &key : keys) values.push_back(pg::text_datum(key));
  const int count = static_cast<int>(values.size());
  ArrayType *array = pg::call([&] { return construct_array(values.data(), count, TEXTOID, -1, false, TYPALIGN_INT); });
  const pg::Rows rows = pg::run(kHeldAmong, {pg::param(lane.subscription_id), partition(lane),
                                             pg::Param{TEXTARRAYOID, PointerGetDatum(array), false}});
  std::vector<std::string> held;
  for (std::uint64_t i = 0; i < rows.size(); ++i) held.push_back(rows[i].text(1));
  return held;
}

std::int64_t queue_length(const Lane &lane, std::string_view key, int limit) {
  return pg::run(kQueueLength, {pg::param(lane.subscription_id), partition(lane), pg::param(key), pg::param(limit)})[0]
      .i64(1);
}

LaneWaits lane_waits(const Lane &lane) {
  const pg::Row row = pg::run(kLaneWaits, {pg::param(lane.subscription_id), partition(lane)})[0];
  LaneWaits waits;
  waits.any = row.boolean(1);
  waits.any_held = row.boolean(2);
  if (!row.is_null(3)) waits.next_due = row.time(3);
  return waits;
}

std::vector<std::int64_t> lock_rows(const Lane &lane, const std::vector<std::int64_t> &parked_ids) {
  static constinit pg::Statement lock{
      "SELECT parked_id FROM saga.parked_v1 WHERE subscription_id = $1 AND partition_number = $2::int2"
      "   AND parked_id = ANY ($3) ORDER BY parked_id FOR UPDATE SKIP LOCKED"};
  std::vector<Datum> values;
  values.reserve(parked_ids.size());
  for (const std::int64_t id : parked_ids) values.push_back(Int64GetDatum(id));
  const int count = static_cast<int>(values.size());
  ArrayType *array = pg::call(
      [&] { return construct_array(values.data(), count, INT8OID, sizeof(std::int64_t), true, TYPALIGN_DOUBLE); });
  const pg::Rows rows = pg::run(
      lock, {pg::param(lane.subscription_id), partition(lane), pg::Param{INT8ARRAYOID, PointerGetDatum(array), false}});
  std::vector<std::int64_t> locked;
  for (std::uint64_t i = 0; i < rows.size(); ++i) locked.push_back(rows[i].i64(1));
  return locked;
}

}  // namespace saga::store
