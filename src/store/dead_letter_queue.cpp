#include "store/dead_letter_queue.hpp"

#include "domain/slot.hpp"
#include "pg/settings.hpp"

namespace saga::store {

namespace {

constinit pg::Statement kLock{
    "SELECT event_id, slot, topic_id, topic, subscription_id, consumer_group, external_id, event_key, event_type,"
    "       settled_as, event_row IS DISTINCT FROM NULL,"
    "       pg_catalog.jsonb_build_object('event_id', event_id, 'topic', topic, 'consumer_group', consumer_group,"
    "         'reason', reason, 'sqlstate', sqlstate, 'review_state', review_state, 'note', note,"
    "         'settled_as', settled_as)::text"
    "  FROM saga.dead_letter_v1 WHERE dead_letter_id = $1 FOR UPDATE"};

constinit pg::Statement kParkedAs{
    "SELECT partition_number, parked_id, waiting_for, event_key FROM saga.parked_v1"
    " WHERE event_id = $1 AND subscription_id = $2 FOR UPDATE"};

constinit pg::Statement kUnhalt{
    "UPDATE saga.parked_v1 SET waiting_for = 'retry', attempts = 0, crashes = 0, due_at = pg_catalog.clock_timestamp(),"
    "       payload = coalesce($5, payload)"
    " WHERE subscription_id = $1 AND partition_number = $2::int2 AND slot = $3::int2 AND parked_id = $4"};

constinit pg::Statement kInLog{"SELECT 1 FROM saga.event_v1 WHERE event_id = $1 AND slot = $2::int2 AND topic_id = $3"};

// A topic that was dropped leaves its rows to retention; this one would be in the way of the new topic's.
constinit pg::Statement kRemoveLeftover{
    "DELETE FROM saga.event_v1 e WHERE e.event_id = $1 AND e.slot = $2::int2"
    "   AND NOT EXISTS (SELECT FROM saga.topic t WHERE t.topic_id = e.topic_id)"};

// The event's storage is gone: its copy goes to where new rows of the topic go, with the place in the order that it
// had.
constinit pg::Statement kReturnToLog{
    "INSERT INTO saga.event_v1 (xid, \"position\", published_at, deliver_at, event_id, segment_id, topic_id, publisher_oid,"
    "   era, partition_number, slot, depth, event_key, event_type, payload, service_name, correlation_id, causation_id,"
    "   external_id, metadata)"
    " SELECT (d.r).xid, (d.r).\"position\", (d.r).published_at, (d.r).deliver_at, (d.r).event_id, $2, $3, (d.r).publisher_oid,"
    "   (d.r).era, $4::int2, (d.r).slot, (d.r).depth, (d.r).event_key, (d.r).event_type, (d.r).payload, (d.r).service_name,"
    "   (d.r).correlation_id, (d.r).causation_id, (d.r).external_id, (d.r).metadata"
    " FROM (SELECT event_row AS r FROM saga.dead_letter_v1 WHERE dead_letter_id = $1) d"};

constinit pg::Statement kSettle{
    "UPDATE saga.dead_letter_v1 SET settled_at = pg_catalog.clock_timestamp(), settled_as = $2"
    " WHERE dead_letter_id = $1 AND settled_at IS NULL"};

constinit pg::Statement kSettleOf{
    "UPDATE saga.dead_letter_v1 SET settled_at = pg_catalog.clock_timestamp(), settled_as = $3"
    " WHERE event_id = $1 AND subscription_id = $2 AND settled_at IS NULL"};

constinit pg::Statement kReview{
    "UPDATE saga.dead_letter_v1 SET review_state = $2, reviewer = $3, note = coalesce($4, note) WHERE dead_letter_id = $1"};

constinit pg::Statement kFilterMembers{"SELECT key, pg_catalog.jsonb_typeof(value) FROM pg_catalog.jsonb_each($1)"};

constinit pg::Statement kFilterValue{"SELECT $1 ->> $2"};

#define SAGA_IN_REACH "($1 OR d.topic_id = ANY ($2::int[]) OR d.subscription_id = ANY ($3::int[]))"

constinit pg::Statement kMatching{
    "SELECT d.dead_letter_id FROM saga.dead_letter_v1 d"
    " WHERE d.settled_at IS NULL AND " SAGA_IN_REACH
    "   AND ($5 OR d.subscription_id IS NOT NULL)"
    "   AND (NOT $4 ? 'topic' OR d.topic = $4 ->> 'topic')"
    "   AND (NOT $4 ? 'consumer_group' OR d.consumer_group = $4 ->> 'consumer_group')"
    "   AND (NOT $4 ? 'event_type' OR d.event_type = $4 ->> 'event_type')"
    "   AND (NOT $4 ? 'sqlstate' OR d.sqlstate = $4 ->> 'sqlstate')"
    "   AND (NOT $4 ? 'reason' OR d.reason = $4 ->> 'reason')"
    "   AND (NOT $4 ? 'dead_after' OR d.dead_at >= ($4 ->> 'dead_after')::timestamptz)"
    "   AND (NOT $4 ? 'dead_before' OR d.dead_at < ($4 ->> 'dead_before')::timestamptz)"
    "   AND (NOT $4 ? 'ids' OR d.dead_letter_id = ANY (ARRAY(SELECT i::uuid"
    "          FROM pg_catalog.jsonb_array_elements_text(CASE WHEN $4 ? 'ids' THEN $4 -> 'ids' ELSE '[]'::jsonb END) i)))"
    " ORDER BY d.dead_at, d.dead_letter_id LIMIT $6"};

// Whether the values can be read at all must not depend on whether a row comes along.
constinit pg::Statement kReadFilters{
    "SELECT ($1 ->> 'dead_after')::timestamptz, ($1 ->> 'dead_before')::timestamptz, ARRAY(SELECT i::uuid"
    "  FROM pg_catalog.jsonb_array_elements_text(CASE WHEN $1 ? 'ids' THEN $1 -> 'ids' ELSE '[]'::jsonb END) i)"};

constinit pg::Statement kPurge{
    "DELETE FROM saga.dead_letter_v1 WHERE dead_letter_id IN ("
    " SELECT d.dead_letter_id FROM saga.dead_letter_v1 d WHERE d.dead_at < $4 AND " SAGA_IN_REACH
    "    AND (d.settled_at IS NOT NULL OR NOT EXISTS (SELECT FROM saga.parked_v1 p WHERE p.event_id = d.event_id"
    "           AND p.subscription_id = d.subscription_id AND p.waiting_for = 'halt'))"
    "  ORDER BY d.dead_at LIMIT $5 FOR UPDATE SKIP LOCKED)"};

#undef SAGA_IN_REACH

pg::Param int_array(const std::vector<int> &numbers) {
  std::vector<Datum> values;
  values.reserve(numbers.size());
  for (const int number : numbers) values.push_back(Int32GetDatum(number));
  const int count = static_cast<int>(values.size());
  ArrayType *array = pg::call(
      [&] { return construct_array(values.data(), count, INT4OID, sizeof(std::int32_t), true, TYPALIGN_INT); });
  return {INT4ARRAYOID, PointerGetDatum(array), false};
}

pg::Param slot_param(std::uint16_t slot) { return pg::param(std::int32_t{slot}); }

/// The topic that the letter belongs to, also when it was made anew; nullptr: gone.
const Topic *topic_of(const DeadLetter &letter) {
  const Topic *topic = topic_by_id(letter.topic_id);
  return topic != nullptr ? topic : find_topic(letter.topic);
}

std::optional<Subscription> subscription_of(const DeadLetter &letter, const Topic &topic) {
  auto found = subscription_by_id(*letter.subscription_id);
  if (found && found->topic_id == topic.id) return found;
  return find_subscription(topic.id, letter.consumer_group.value_or(""));
}

struct ParkedAs {
  Lane lane;
  std::int64_t parked_id = 0;
  bool halted = false;
  std::optional<std::string> key;
};

std::optional<ParkedAs> parked_as(const domain::Uuid &event_id, int subscription_id) {
  const pg::Rows rows = pg::run(kParkedAs, {pg::param(event_id), pg::param(subscription_id)});
  if (rows.empty()) return std::nullopt;
  return ParkedAs{{subscription_id, rows[0].i16(1)},
                  rows[0].i64(2),
                  rows[0].text(3) == name(WaitingFor::Halt),
                  rows[0].optional_text(4)};
}

bool in_log(const DeadLetter &letter, int topic_id) {
  return !pg::run(kInLog, {pg::param(letter.event_id), slot_param(letter.slot), pg::param(topic_id)}).empty();
}

void unhalt(const DeadLetter &letter, const ParkedAs &parked, std::optional<Datum> payload) {
  pg::run(kUnhalt, {pg::param(parked.lane.subscription_id), pg::param(std::int32_t{parked.lane.partition}),
                    slot_param(letter.slot), pg::param(parked.parked_id), pg::param_jsonb(payload)});
}

void return_to_log(const DeadLetter &letter, const Topic &topic) {
  const auto partition = static_cast<std::int32_t>(domain::partition_of(letter.slot, topic.partitions));
  pg::run(kRemoveLeftover, {pg::param(letter.event_id), slot_param(letter.slot)});
  pg::run(kReturnToLog, {pg::param(letter.id), pg::param(topic.segment), pg::param(topic.id), pg::param(partition)});
}

}  // namespace

std::optional<DeadLetter> lock_dead_letter(const domain::Uuid &id) {
  const pg::Rows rows = pg::run(kLock, {pg::param(id)});
  if (rows.empty()) return std::nullopt;
  const pg::Row row = rows[0];
  DeadLetter letter;
  letter.id = id;
  letter.event_id = row.uuid(1);
  letter.slot = static_cast<std::uint16_t>(row.i16(2));
  letter.topic_id = row.i32(3);
  letter.topic = row.text(4);
  if (!row.is_null(5)) letter.subscription_id = row.i32(5);
  letter.consumer_group = row.optional_text(6);
  letter.external_id = row.optional_text(7);
  letter.event_key = row.optional_text(8);
  letter.event_type = row.optional_text(9);
  letter.settled_as = row.optional_text(10);
  letter.has_event = row.boolean(11);
  letter.state = row.text(12);
  return letter;
}

Replay replay(const DeadLetter &letter, std::optional<Datum> payload) {
  if (letter.settled_as) return {ReplayProblem::Settled};
  const Topic *found = topic_of(letter);
  if (found == nullptr) return {ReplayProblem::TopicGone};
  const Topic topic = *found;  // a later look may replace the cache
  const auto subscription = subscription_of(letter, topic);
  if (!subscription) return {ReplayProblem::GroupGone};
  const auto parked = parked_as(letter.event_id, subscription->id);
  if (parked && !parked->halted) return {ReplayProblem::Parked};
  if (!in_log(letter, topic.id)) {
    if (!letter.has_event) return {ReplayProblem::EventGone};
    return_to_log(letter, topic);
  }
  const Lane lane = parked ? parked->lane : Lane{subscription->id, lane_of(*subscription, letter.slot)};
  if (parked) {
    unhalt(letter, *parked, payload);
  } else {
    ParkRequest request;
    request.ref = {letter.event_id, letter.slot};
    if (letter.event_key) request.key = *letter.event_key;
    request.waiting_for = WaitingFor::Replay;
    request.due_at = GetCurrentTimestamp();
    request.payload = payload;
    park(*subscription, lane, request);
  }
  settle(letter.id, "replayed");
  return {ReplayProblem::None, topic.id, lane.partition};
}

ReplayProblem may_publish(const DeadLetter &letter) {
  if (letter.settled_as) return ReplayProblem::Settled;
  const Topic *topic = topic_of(letter);
  if (topic == nullptr) return ReplayProblem::TopicGone;
  return in_log(letter, topic->id) ? ReplayProblem::InLog : ReplayProblem::None;
}

void settle(const domain::Uuid &id, std::string_view as) { pg::run(kSettle, {pg::param(id), pg::param(as)}); }

void settle_dead_letters_of(const domain::Uuid &event_id, int subscription_id, std::string_view as) {
  pg::run(kSettleOf, {pg::param(event_id), pg::param(subscription_id), pg::param(as)});
}

Replay discard(const DeadLetter &letter) {
  if (letter.settled_as) return {ReplayProblem::Settled};
  settle(letter.id, "discarded");
  Replay result;
  if (!letter.subscription_id) return result;
  const auto parked = parked_as(letter.event_id, *letter.subscription_id);
  if (!parked || !parked->halted) return result;
  const auto subscription = subscription_by_id(*letter.subscription_id);
  if (!subscription) return result;
  ParkedEvent event;
  event.parked_id = parked->parked_id;
  event.ref = {letter.event_id, letter.slot};
  unpark(*subscription, parked->lane, event);
  if (parked->key) release_queue(*subscription, parked->lane, *parked->key);
  result.topic_id = subscription->topic_id;
  result.partition = parked->lane.partition;
  return result;
}

void review(const domain::Uuid &id, std::string_view state, std::string_view reviewer,
            const std::optional<std::string> &note) {
  pg::run(kReview, {pg::param(id), pg::param(state), pg::param(reviewer), pg::param_text(note)});
}

std::vector<std::pair<std::string, std::string>> filter_members(Datum filters) {
  const pg::Rows rows = pg::run(kFilterMembers, {pg::param_jsonb(filters)});
  std::vector<std::pair<std::string, std::string>> members;
  for (std::uint64_t i = 0; i < rows.size(); ++i) members.emplace_back(rows[i].text(1), rows[i].text(2));
  return members;
}

std::optional<std::string> filter_value(Datum filters, std::string_view name) {
  return pg::run(kFilterValue, {pg::param_jsonb(filters), pg::param(name)})[0].optional_text(1);
}

std::vector<domain::Uuid> matching(Datum filters, const Reach &reach, bool with_invalid, std::int64_t limit) {
  pg::run(kReadFilters, {pg::param_jsonb(filters)});
  const pg::Rows rows =
      pg::run(kMatching, {pg::param(reach.all), int_array(reach.topics), int_array(reach.subscriptions),
                          pg::param_jsonb(filters), pg::param(with_invalid), pg::param(limit)});
  std::vector<domain::Uuid> ids;
  for (std::uint64_t i = 0; i < rows.size(); ++i) ids.push_back(rows[i].uuid(1));
  return ids;
}

std::int64_t purge(TimestampTz before, const Reach &reach, std::int64_t limit) {
  return static_cast<std::int64_t>(
      pg::run(kPurge, {pg::param(reach.all), int_array(reach.topics), int_array(reach.subscriptions),
                       pg::param_time(before), pg::param(limit)})
          .affected());
}

}  // namespace saga::store
