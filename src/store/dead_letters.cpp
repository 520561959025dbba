#include "store/dead_letters.hpp"

namespace saga::store {

namespace {

constinit pg::Statement kAppend{
    "INSERT INTO saga.dead_letter_v1 (dead_letter_id, slot, topic_id, topic, subscription_id, consumer_group, event_id,"
    "   external_id, event_key, event_type, reason, sqlstate, error_message, error_stack, attempts, first_failed_at,"
    "   dead_at, review_state, payload, event_row)"
    " SELECT $1, $2::int2, $3, $4, $5, $6, $7, e.external_id, e.event_key, e.event_type, $8, $9, $10, $11, $12,"
    "        coalesce($13, pg_catalog.clock_timestamp()), pg_catalog.clock_timestamp(),"
    "        CASE WHEN $14 THEN 'needs_review' END, e.payload, e.event_row"
    "   FROM (SELECT 1) one LEFT JOIN LATERAL ("
    "     SELECT v.external_id, v.event_key, v.event_type, coalesce(p.payload, v.payload) AS payload, v AS event_row"
    "       FROM saga.event_v1 v LEFT JOIN saga.parked_v1 p ON p.event_id = v.event_id AND p.subscription_id = $5"
    "                                                      AND p.slot = v.slot"
    "      WHERE v.event_id = $7 AND v.slot = $2::int2 AND v.topic_id = $3 LIMIT 1) e ON true"};

}  // namespace

domain::Uuid append_dead_letter(const Subscription &subscription, const DeadLetterRow &row, const domain::Uuid &id) {
  const AttemptError *error = row.error;
  pg::run(
      kAppend,
      {pg::param(id), pg::param(std::int32_t{row.event.slot}), pg::param(subscription.topic_id),
       pg::param(std::string_view(subscription.topic)), pg::param(subscription.id),
       pg::param(std::string_view(subscription.consumer_group)), pg::param(row.event.id), pg::param(row.reason),
       error == nullptr ? pg::null_of(TEXTOID) : pg::param(std::string_view(error->sqlstate)),
       error == nullptr ? pg::null_of(TEXTOID) : pg::param(std::string_view(error->message)),
       error == nullptr ? pg::null_of(TEXTOID) : pg::param(std::string_view(error->context)), pg::param(row.attempts),
       row.first_failed_at ? pg::param_time(*row.first_failed_at) : pg::null_of(TIMESTAMPTZOID),
       pg::param(subscription.business_critical)});
  return id;
}

}  // namespace saga::store
