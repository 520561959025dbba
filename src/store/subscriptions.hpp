// Subscriptions as stored: what a consumer group of a topic wants, and how its handler runs.
#pragma once

#include "domain/outcome.hpp"
#include "pg/transaction.hpp"
#include "store/topics.hpp"

namespace saga::store {

enum class Ordering : std::uint8_t { Key, Topic, None };

struct Subscription {
  int id = 0;
  int topic_id = 0;
  std::string topic;
  std::string consumer_group;
  std::string handler;        // "schema"."function"(saga.event)
  std::string handler_owner;  // at the time it was confirmed
  std::optional<std::vector<std::string>> event_types;
  Ordering ordering = Ordering::Key;
  int concurrency = 10;
  domain::Policy policy;
  std::int64_t timeout_us = 30'000'000;
  bool halt_on_exhausted = false;
  bool business_critical = false;
  pg::Isolation isolation = pg::Isolation::ReadCommitted;
  std::string run_as;
  Oid run_as_oid = InvalidOid;
  std::string service_name;
  int generation = 1;
  std::optional<std::string> paused_reason;
  int partitions = 1;
  int segment = 0;  // where tracking rows of its topic go
};

/// All subscriptions of this database, in the order of their ids. Runs as the extension's owner.
std::vector<Subscription> all_subscriptions();

/// nullopt: there is none (any more).
std::optional<Subscription> subscription_by_id(int id);
std::optional<Subscription> find_subscription(int topic_id, std::string_view consumer_group);

/// A worker found that the handler cannot be run: the subscription pauses until resume() confirms it.
void block_subscription(int id, const std::string &reason);

/// Throws SG011 (unknown consumer group, with the ones there are).
Subscription subscription(const Topic &topic, std::string_view consumer_group);

[[nodiscard]] std::string_view name(Ordering ordering) noexcept;

/// The lanes of a subscription: its partitions, or the one lane of a total order (-1).
[[nodiscard]] std::vector<std::int16_t> lanes_of(const Subscription &subscription);

/// The lane in which a subscription sees an event of that slot.
[[nodiscard]] std::int16_t lane_of(const Subscription &subscription, std::uint16_t slot) noexcept;

}  // namespace saga::store
