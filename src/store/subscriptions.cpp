#include "store/subscriptions.hpp"

#include "domain/slot.hpp"
#include "pg/identity.hpp"
#include "pg/settings.hpp"

namespace saga::store {

namespace {

#define SAGA_SUBSCRIPTION_COLUMNS                                                                               \
  "SELECT s.subscription_id, s.topic_id, t.topic, s.consumer_group, s.handler, s.handler_owner, s.event_types," \
  "       s.ordering, s.concurrency, s.max_attempts, s.backoff, s.max_backoff, s.jitter, s.timeout, s.max_age," \
  "       s.on_exhausted = 'halt', s.business_critical, s.isolation, s.run_as, s.run_as_oid, s.service_name,"   \
  "       s.generation, s.paused_reason, t.partitions,"                                                         \
  "       coalesce((SELECT max(g.segment_id) FROM saga.segment g"                                               \
  "                 WHERE g.retention = t.retention AND g.closed_at IS NULL), 0)"                               \
  "  FROM saga.subscription s JOIN saga.topic t USING (topic_id) "

constinit pg::Statement kAll{SAGA_SUBSCRIPTION_COLUMNS "ORDER BY s.subscription_id"};
constinit pg::Statement kById{SAGA_SUBSCRIPTION_COLUMNS "WHERE s.subscription_id = $1"};
constinit pg::Statement kByGroup{SAGA_SUBSCRIPTION_COLUMNS "WHERE s.topic_id = $1 AND s.consumer_group = $2"};
constinit pg::Statement kGroups{
    "SELECT pg_catalog.string_agg(pg_catalog.quote_literal(consumer_group), ', ' ORDER BY consumer_group)"
    " FROM saga.subscription WHERE topic_id = $1"};

#undef SAGA_SUBSCRIPTION_COLUMNS

constinit pg::Statement kBlock{
    "UPDATE saga.subscription SET paused_reason = $2 WHERE subscription_id = $1 AND paused_reason IS NULL"};

std::int64_t micros(const pg::Row &row, int column) {
  return pg::interval_micros(*DatumGetIntervalP(row.datum(column)));
}

domain::Millis millis(const pg::Row &row, int column) { return domain::Millis{micros(row, column) / 1000}; }

Ordering ordering_of(const std::string &text) {
  if (text == "topic") return Ordering::Topic;
  return text == "none" ? Ordering::None : Ordering::Key;
}

pg::Isolation isolation_of(const std::string &text) {
  if (text == "serializable") return pg::Isolation::Serializable;
  return text == "repeatable read" ? pg::Isolation::RepeatableRead : pg::Isolation::ReadCommitted;
}

std::vector<std::string> text_array(Datum value) {
  ArrayType *array = pg::call([&] { return DatumGetArrayTypeP(value); });
  Datum *elements = nullptr;
  int count = 0;
  pg::call([&] { deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, nullptr, &count); });
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) texts.push_back(pg::to_string(elements[i]));
  return texts;
}

domain::Policy policy_of(const pg::Row &row) {
  domain::Policy policy;
  policy.retry.attempts_max = static_cast<std::uint16_t>(row.i32(10));
  policy.retry.backoff_base = millis(row, 11);
  policy.retry.backoff_max = millis(row, 12);
  policy.retry.jitter = row.f64(13);
  if (!row.is_null(15)) policy.age_max = millis(row, 15);
  policy.crash_limit = static_cast<std::uint16_t>(pg::settings::crash_limit);
  return policy;
}

Subscription read(const pg::Row &row) {
  Subscription s;
  s.id = row.i32(1);
  s.topic_id = row.i32(2);
  s.topic = row.text(3);
  s.consumer_group = row.text(4);
  s.handler = row.text(5);
  s.handler_owner = row.text(6);
  if (!row.is_null(7)) s.event_types = text_array(row.datum(7));
  s.ordering = ordering_of(row.text(8));
  s.concurrency = row.i32(9);
  s.policy = policy_of(row);
  s.timeout_us = micros(row, 14);
  s.halt_on_exhausted = row.boolean(16);
  s.business_critical = row.boolean(17);
  s.isolation = isolation_of(row.text(18));
  s.run_as = row.text(19);
  s.run_as_oid = static_cast<Oid>(row.i64(20));
  s.service_name = row.text(21);
  s.generation = row.i32(22);
  s.paused_reason = row.optional_text(23);
  s.partitions = row.i32(24);
  s.segment = row.i32(25);
  return s;
}

}  // namespace

std::vector<Subscription> all_subscriptions() {
  pg::OwnerScope owner;
  pg::Spi spi;
  const pg::Rows rows = pg::run(kAll, {});
  std::vector<Subscription> list;
  for (std::uint64_t i = 0; i < rows.size(); ++i) list.push_back(read(rows[i]));
  return list;
}

std::optional<Subscription> subscription_by_id(int id) {
  pg::OwnerScope owner;
  pg::Spi spi;
  const pg::Rows rows = pg::run(kById, {pg::param(id)});
  if (rows.empty()) return std::nullopt;
  return read(rows[0]);
}

std::optional<Subscription> find_subscription(int topic_id, std::string_view consumer_group) {
  pg::OwnerScope owner;
  pg::Spi spi;
  const pg::Rows rows = pg::run(kByGroup, {pg::param(topic_id), pg::param(consumer_group)});
  if (rows.empty()) return std::nullopt;
  return read(rows[0]);
}

void block_subscription(int id, const std::string &reason) {
  pg::run(kBlock, {pg::param(id), pg::param(std::string_view(reason))});
}

Subscription subscription(const Topic &topic, std::string_view consumer_group) {
  auto found = find_subscription(topic.id, consumer_group);
  if (found) return std::move(*found);
  pg::OwnerScope owner;
  pg::Spi spi;
  const auto groups = pg::run(kGroups, {pg::param(topic.id)})[0].optional_text(1);
  throw pg::Error{pg::kUnknownConsumerGroup,
                  "topic " + pg::quoted(topic.name) + " has no consumer group " + pg::quoted(consumer_group),
                  {},
                  groups ? "Its consumer groups are " + *groups + "."
                         : "Create one with saga.subscribe('" + topic.name + "', handler)."};
}

std::string_view name(Ordering ordering) noexcept {
  switch (ordering) {
    case Ordering::Topic:
      return "topic";
    case Ordering::None:
      return "none";
    case Ordering::Key:
      break;
  }
  return "key";
}

std::vector<std::int16_t> lanes_of(const Subscription &subscription) {
  if (subscription.ordering == Ordering::Topic) return {std::int16_t{-1}};
  std::vector<std::int16_t> lanes;
  for (int i = 0; i < subscription.partitions; ++i) lanes.push_back(static_cast<std::int16_t>(i));
  return lanes;
}

std::int16_t lane_of(const Subscription &subscription, std::uint16_t slot) noexcept {
  if (subscription.ordering == Ordering::Topic) return -1;
  return static_cast<std::int16_t>(domain::partition_of(slot, static_cast<std::uint16_t>(subscription.partitions)));
}

}  // namespace saga::store
