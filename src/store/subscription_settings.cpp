#include "store/subscription_settings.hpp"

namespace saga::store {

namespace {

// Parameters of the three statements: 1 and 2 name the subscription, 3 to 21 are the options, in one order.
constinit pg::Statement kInsert{
    "INSERT INTO saga.subscription (subscription_id, topic_id, consumer_group, handler, handler_owner, event_types,"
    "   ordering, concurrency, max_attempts, backoff, max_backoff, jitter, timeout, max_age, on_exhausted, circuit,"
    "   isolation, business_critical, start_from, run_as, run_as_oid, service_name, generation, created_at)"
    " VALUES (pg_catalog.nextval('saga.subscription_id_seq'), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,"
    "   $14, $15, $16, $17, $18, $19, $20, $21, 1, pg_catalog.clock_timestamp())"
    " ON CONFLICT (topic_id, consumer_group) DO NOTHING"};

constinit pg::Statement kDifferent{
    "SELECT pg_catalog.string_agg(o.name, ', ' ORDER BY o.place) FROM saga.subscription s CROSS JOIN LATERAL (VALUES"
    "   (1, 'handler', s.handler IS DISTINCT FROM $3), (2, 'event_types', s.event_types IS DISTINCT FROM $5),"
    "   (3, 'ordering', s.ordering IS DISTINCT FROM $6), (4, 'concurrency', s.concurrency IS DISTINCT FROM $7),"
    "   (5, 'max_attempts', s.max_attempts IS DISTINCT FROM $8), (6, 'backoff', s.backoff IS DISTINCT FROM $9),"
    "   (7, 'max_backoff', s.max_backoff IS DISTINCT FROM $10), (8, 'jitter', s.jitter IS DISTINCT FROM $11),"
    "   (9, 'timeout', s.timeout IS DISTINCT FROM $12), (10, 'max_age', s.max_age IS DISTINCT FROM $13),"
    "   (11, 'on_exhausted', s.on_exhausted IS DISTINCT FROM $14), (12, 'circuit', s.circuit IS DISTINCT FROM $15),"
    "   (13, 'isolation', s.isolation IS DISTINCT FROM $16),"
    "   (14, 'business_critical', s.business_critical IS DISTINCT FROM $17),"
    "   (15, 'start_from', s.start_from IS DISTINCT FROM $18), (16, 'run_as', s.run_as IS DISTINCT FROM $19),"
    "   (17, 'service_name', s.service_name IS DISTINCT FROM $21)) AS o (place, name, differs)"
    " WHERE s.topic_id = $1 AND s.consumer_group = $2 AND o.differs"
    // What a repeat cannot tell: owner of the function and number of the role.
    "   AND ($4::text IS NULL OR true) AND ($20::int8 IS NULL OR true)"};

constinit pg::Statement kUpdate{
    "UPDATE saga.subscription SET handler = coalesce($3, handler), handler_owner = coalesce($4, handler_owner),"
    "   event_types = CASE WHEN $5 IS NULL THEN event_types WHEN pg_catalog.cardinality($5) = 0 THEN NULL ELSE $5 END,"
    "   ordering = coalesce($6, ordering), concurrency = coalesce($7, concurrency),"
    "   max_attempts = coalesce($8, max_attempts), backoff = coalesce($9, backoff),"
    "   max_backoff = coalesce($10, max_backoff), jitter = coalesce($11, jitter), timeout = coalesce($12, timeout),"
    "   max_age = CASE WHEN $13 IS NULL THEN max_age WHEN $13 = interval '0' THEN NULL ELSE $13 END,"
    "   on_exhausted = coalesce($14, on_exhausted),"
    "   circuit = CASE WHEN $15 IS NULL THEN circuit WHEN $15 = '' THEN NULL ELSE $15 END,"
    "   isolation = coalesce($16, isolation), business_critical = coalesce($17, business_critical),"
    "   start_from = coalesce($18, start_from), run_as = coalesce($19, run_as), run_as_oid = coalesce($20, run_as_oid),"
    "   service_name = coalesce($21, service_name)"
    " WHERE subscription_id = $1 AND $2::text IS NULL"};

constinit pg::Statement kHasEvents{
    "SELECT EXISTS (SELECT FROM saga.event_v1 WHERE topic_id = $1"
    "                  AND xid IS DISTINCT FROM pg_catalog.pg_current_xact_id_if_assigned())"};
constinit pg::Statement kCurrentSnapshot{"SELECT pg_catalog.pg_current_snapshot()"};

// Empty when a worker has just committed the same number: then the next one is tried.
constinit pg::Statement kMoveLane{
    "INSERT INTO saga.progress_v1 (subscription_id, partition_number, number, era, generation, window_done,"
    "   previous_snapshot, window_snapshot, last_position, not_before, delivered)"
    " SELECT $1, $2::int2, coalesce(max(n.number), -1) + 1, $3, $4, true, $5, $5, 0, $6, coalesce(max(n.delivered), 0)"
    "   FROM (SELECT number, delivered FROM saga.progress_v1 WHERE subscription_id = $1 AND partition_number = $2::int2"
    "          ORDER BY number DESC LIMIT 1) n"
    " ON CONFLICT DO NOTHING"};
constinit pg::Statement kNextGeneration{
    "UPDATE saga.subscription SET generation = generation + 1 WHERE subscription_id = $1 RETURNING generation"};
constinit pg::Statement kDeleteParked{"DELETE FROM saga.parked_v1 WHERE subscription_id = $1"};

constinit pg::Statement kMoveAsJson{
    "SELECT pg_catalog.jsonb_build_object('start_from', $1, 'parked_events_forgotten', $2)::text"};

constinit pg::Statement kSetPaused{"UPDATE saga.subscription SET paused_reason = $2 WHERE subscription_id = $1"};
constinit pg::Statement kLiftPause{
    "UPDATE saga.subscription SET paused_reason = NULL, handler_owner = $2, run_as_oid = $3 WHERE subscription_id = $1"};
constinit pg::Statement kDeleteProgress{"DELETE FROM saga.progress_v1 WHERE subscription_id = $1"};
constinit pg::Statement kDelete{"DELETE FROM saga.subscription WHERE subscription_id = $1"};
constinit pg::Statement kRow{
    "SELECT (pg_catalog.to_jsonb(s) - ARRAY['subscription_id', 'topic_id', 'consumer_group', 'run_as_oid',"
    "        'created_at'])::text FROM saga.subscription s WHERE subscription_id = $1"};

pg::Param param_of(const std::optional<Interval> &value) {
  return value ? pg::param_interval(*value) : pg::null_of(INTERVALOID);
}

std::vector<pg::Param> params_of(pg::Param first, pg::Param second, const SubscriptionOptions &o) {
  return {first,
          second,
          pg::param_text(o.handler),
          pg::param_text(o.handler_owner),
          pg::param_datum(TEXTARRAYOID, o.event_types.value_or(Datum{0}), !o.event_types),
          pg::param_text(o.ordering),
          pg::param(o.concurrency, INT4OID),
          pg::param(o.max_attempts, INT4OID),
          param_of(o.backoff),
          param_of(o.max_backoff),
          pg::param(o.jitter, FLOAT8OID),
          param_of(o.timeout),
          param_of(o.max_age),
          pg::param_text(o.on_exhausted),
          pg::param_text(o.circuit),
          pg::param_text(o.isolation),
          pg::param(o.business_critical, BOOLOID),
          pg::param_text(o.start_from),
          pg::param_text(o.run_as),
          pg::param(o.run_as_oid, INT8OID),
          pg::param_text(o.service_name)};
}

void move_lane(const Lane &lane, int generation, const StartPoint &start) {
  const std::array params{pg::param(lane.subscription_id),
                          pg::param(std::int32_t{lane.partition}),
                          pg::param(installation().era),
                          pg::param(generation),
                          pg::param(start.snapshot),
                          start.not_before ? pg::param_time(*start.not_before) : pg::null_of(TIMESTAMPTZOID)};
  while (pg::run(kMoveLane, params).affected() == 0) pg::check_for_interrupts();
}

}  // namespace

StartPoint start_at_earliest() { return {}; }

StartPoint start_at_latest() {
  const domain::Snapshot now = pg::to_snapshot(pg::run(kCurrentSnapshot, {})[0].datum(1));
  const FullTransactionId own = GetTopFullTransactionIdIfAny();
  if (!FullTransactionIdIsValid(own)) return {now, std::nullopt};
  return {now.without(U64FromFullTransactionId(own)), std::nullopt};
}

StartPoint start_at(TimestampTz time) {
  return {tick_before(installation().era, time).value_or(domain::Snapshot::none()), time};
}

bool has_events(int topic_id) { return pg::run(kHasEvents, {pg::param(topic_id)})[0].boolean(1); }

bool insert_subscription(int topic_id, std::string_view consumer_group, const SubscriptionOptions &options,
                         const StartPoint &start) {
  config_changed();
  const pg::Rows rows = pg::run(kInsert, params_of(pg::param(topic_id), pg::param(consumer_group), options));
  if (rows.affected() == 0) return false;
  const auto subscription = find_subscription(topic_id, consumer_group);
  for (const std::int16_t partition : lanes_of(*subscription)) {
    move_lane({subscription->id, partition}, subscription->generation, start);
  }
  return true;
}

std::string different_options(int topic_id, std::string_view consumer_group, const SubscriptionOptions &options) {
  return pg::run(kDifferent, params_of(pg::param(topic_id), pg::param(consumer_group), options))[0]
      .optional_text(1)
      .value_or("");
}

void update_subscription(int subscription_id, const SubscriptionOptions &options) {
  config_changed();
  pg::run(kUpdate, params_of(pg::param(subscription_id), pg::null_of(TEXTOID), options));
}

std::int64_t move_subscription(const Subscription &subscription, const StartPoint &start) {
  config_changed();
  const int generation = pg::run(kNextGeneration, {pg::param(subscription.id)})[0].i32(1);
  // Parked events first, as a worker does: it locks them before it writes its cursor. Once more for those that a
  // batch parked which committed in between.
  std::uint64_t forgotten = pg::run(kDeleteParked, {pg::param(subscription.id)}).affected();
  for (const std::int16_t partition : lanes_of(subscription))
    move_lane({subscription.id, partition}, generation, start);
  forgotten += pg::run(kDeleteParked, {pg::param(subscription.id)}).affected();
  return static_cast<std::int64_t>(forgotten);
}

std::string move_as_json(std::string_view start_from, std::int64_t parked_events_forgotten) {
  return pg::run(kMoveAsJson, {pg::param(start_from), pg::param(parked_events_forgotten)})[0].text(1);
}

void set_paused(int subscription_id, std::string_view reason) {
  config_changed();
  pg::run(kSetPaused, {pg::param(subscription_id), pg::param(reason)});
}

void lift_pause(int subscription_id, const ConfirmedHandler &confirmed) {
  config_changed();
  pg::run(kLiftPause, {pg::param(subscription_id), pg::param(std::string_view(confirmed.owner_name)),
                       pg::param(std::int64_t{confirmed.run_as})});
}

std::int64_t delete_subscription(int subscription_id) {
  config_changed();
  const std::uint64_t parked = pg::run(kDeleteParked, {pg::param(subscription_id)}).affected();
  pg::run(kDeleteProgress, {pg::param(subscription_id)});
  pg::run(kDelete, {pg::param(subscription_id)});
  return static_cast<std::int64_t>(parked);
}

std::string subscription_row(int subscription_id) { return pg::run(kRow, {pg::param(subscription_id)})[0].text(1); }

}  // namespace saga::store
