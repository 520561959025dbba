// Statements that change subscriptions and set the cursors of their lanes. Everything here runs as the extension's
// owner, inside an Spi session; who may do it, and whether the values make sense, is decided before.
#pragma once

#include "store/handlers.hpp"
#include "store/progress.hpp"
#include "store/subscriptions.hpp"

namespace saga::store {

/// The options of a subscription, as given. In a change nullopt keeps what there is.
struct SubscriptionOptions {
  std::optional<std::string> handler;  // its signature
  std::optional<std::string> handler_owner;
  std::optional<Datum> event_types;  // text[]; in a change an empty one means all types
  std::optional<std::string> ordering;
  std::optional<std::int32_t> concurrency;
  std::optional<std::int32_t> max_attempts;
  std::optional<Interval> backoff;
  std::optional<Interval> max_backoff;
  std::optional<double> jitter;
  std::optional<Interval> timeout;
  std::optional<Interval> max_age;  // in a change 0 means none
  std::optional<std::string> on_exhausted;
  std::optional<std::string> circuit;  // in a change '' means none
  std::optional<std::string> isolation;
  std::optional<bool> business_critical;
  std::optional<std::string> start_from;
  std::optional<std::string> run_as;
  std::optional<std::int64_t> run_as_oid;
  std::optional<std::string> service_name;
};

/// Where a consumer group starts to read.
struct StartPoint {
  domain::Snapshot snapshot = domain::Snapshot::none();
  std::optional<TimestampTz> not_before;
};
StartPoint start_at_earliest();
/// What this transaction publishes itself is not skipped.
StartPoint start_at_latest();
StartPoint start_at(TimestampTz time);

/// Whether other transactions have published to a topic.
bool has_events(int topic_id);

/// False: the topic has such a consumer group already.
bool insert_subscription(int topic_id, std::string_view consumer_group, const SubscriptionOptions &options,
                         const StartPoint &start);

/// Names of the options that differ from those of the subscription, with commas; empty: none.
std::string different_options(int topic_id, std::string_view consumer_group, const SubscriptionOptions &options);

void update_subscription(int subscription_id, const SubscriptionOptions &options);

/// Moves every lane to another start, under a new generation; parked events are forgotten. Returns how many.
std::int64_t move_subscription(const Subscription &subscription, const StartPoint &start);

/// What seek did, as jsonb text for the audit log.
std::string move_as_json(std::string_view start_from, std::int64_t parked_events_forgotten);

void set_paused(int subscription_id, std::string_view reason);

/// Lifts the pause, and takes over who owns the handler now.
void lift_pause(int subscription_id, const ConfirmedHandler &confirmed);

/// Returns how many parked events went with it.
std::int64_t delete_subscription(int subscription_id);

/// The row as jsonb text, for the audit log.
std::string subscription_row(int subscription_id);

}  // namespace saga::store
