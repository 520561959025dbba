#include "store/tracking.hpp"

namespace saga::store {

namespace {

constinit pg::Statement kDelivery{
    "INSERT INTO saga.delivery_v1 (segment_id, subscription_id, partition_number, generation, number, era,"
    "   previous_snapshot, window_snapshot, last_position, event_count, finished_at, packed, results)"
    " VALUES ($1, $2, $3::int2, $4, $5, $6, $7, $8, $9, $10, pg_catalog.clock_timestamp(), $11, $12)"};

constinit pg::Statement kOutcome{
    "INSERT INTO saga.outcome_v1 (segment_id, number, event_id, subscription_id, topic_id, generation, slot, status,"
    "   attempts, decided_at, processing_us, error_message, error_stack, reason, result)"
    " VALUES ($1, pg_catalog.nextval('saga.outcome_seq'), $2, $3, $4, $5, $6::int2, $7, $8,"
    "   pg_catalog.clock_timestamp(), $9, $10, $11, $12, $13)"};

constinit pg::Statement kAttempt{
    "INSERT INTO saga.attempt_v1 (segment_id, event_id, subscription_id, slot, attempt, outcome, started_at,"
    "   processing_us, sqlstate, error_message, error_detail, error_hint, error_context, retry_at)"
    " VALUES ($1, $2, $3, $4::int2, $5, $6, $7, $8, $9, $10, nullif($11, ''), nullif($12, ''), nullif($13, ''), $14)"};

pg::Param slot_param(std::uint16_t slot) { return pg::param(std::int32_t{slot}); }

}  // namespace

void append_delivery(const Subscription &subscription, const Lane &lane, const Cursor &cursor,
                     const domain::DeliveryPack &pack, std::optional<Datum> results) {
  pg::run(kDelivery, {pg::param(subscription.segment), pg::param(subscription.id),
                      pg::param(std::int32_t{lane.partition}), pg::param(cursor.generation), pg::param(cursor.number),
                      pg::param(cursor.era), pg::param(cursor.previous), pg::param(cursor.window),
                      pg::param(cursor.last_position), pg::param(static_cast<std::int32_t>(pack.count())),
                      pg::param_bytes(pack.bytes()), pg::param_jsonb(results)});
}

void append_outcome(const Subscription &subscription, const OutcomeRow &row) {
  const bool failed = row.error != nullptr;
  pg::run(kOutcome, {pg::param(subscription.segment), pg::param(row.event.id), pg::param(subscription.id),
                     pg::param(subscription.topic_id), pg::param(subscription.generation), slot_param(row.event.slot),
                     pg::param(row.status), pg::param(row.attempts), pg::param(row.processing_us, INT8OID),
                     failed ? pg::param(std::string_view(row.error->message)) : pg::null_of(TEXTOID),
                     failed ? pg::param(std::string_view(row.error->context)) : pg::null_of(TEXTOID),
                     pg::param(row.reason, TEXTOID), pg::param_jsonb(row.result)});
}

void append_attempt(const Subscription &subscription, const AttemptRow &row) {
  pg::run(kAttempt,
          {pg::param(subscription.segment), pg::param(row.event.id), pg::param(subscription.id),
           slot_param(row.event.slot), pg::param(row.attempt), pg::param(row.outcome), pg::param_time(row.started_at),
           pg::param(row.processing_us), pg::param(std::string_view(row.error->sqlstate)),
           pg::param(std::string_view(row.error->message)), pg::param(std::string_view(row.error->detail)),
           pg::param(std::string_view(row.error->hint)), pg::param(std::string_view(row.error->context)),
           row.retry_at ? pg::param_time(*row.retry_at) : pg::null_of(TIMESTAMPTZOID)});
}

}  // namespace saga::store
