// What users ask and operators do about single events: finding an event by its id, its state per consumer group, and
// the verbs on parked rows. A verb locks the parked row without waiting: who holds it works on the event now.
#pragma once

#include "store/parked.hpp"

namespace saga::store {

enum class EventPlace : std::uint8_t { Log, Staged, Invalid, ParkedOnly };

struct KnownEvent {
  EventPlace place = EventPlace::Log;
  int topic_id = 0;
  domain::Xid xid = 0;  // who published it; 0: unknown
};

/// nullopt: there is no such event, or none any more.
std::optional<KnownEvent> find_event(const domain::Uuid &id);

struct GroupState {
  std::string consumer_group;
  std::string status;  // as in event_consumption_log, PENDING or NOT_DELIVERED
  int attempts = 0;
  int max_attempts = 0;
  std::optional<std::string> waiting_for;
  std::optional<TimestampTz> due_at;
  std::optional<TimestampTz> processed_at;
  std::optional<double> processing_ms;
  std::optional<std::string> error_message;
  std::optional<Datum> result;  // jsonb, in the memory of the Spi session
};

/// The state of an event in every group that it is meant for, or in one. Runs as the extension's owner.
std::vector<GroupState> states_of(const domain::Uuid &id, const std::optional<std::string> &consumer_group);

/// Columns of saga.trace, in its order.
pg::Rows trace(const std::string &correlation_id);

/// Whether something is left to do: undelivered events, or parked ones that are due before deadline.
bool any_work(std::optional<int> topic_id, const std::optional<std::string> &consumer_group, TimestampTz deadline);

struct LockedEvent {
  Lane lane;
  ParkedEvent event;
  std::string waiting_for;
  std::string state;  // jsonb text, for the audit log
};
enum class LockResult : std::uint8_t { Locked, Busy, Missing };
LockResult lock_parked(const Subscription &subscription, const domain::Uuid &id, LockedEvent &locked);

/// The event that holds a key, or waits first for it; nullopt: the key is free.
std::optional<domain::Uuid> head_of_key(const Subscription &subscription, std::string_view key);

void make_due(const LockedEvent &locked);

/// Ends a locked event with that status (SKIPPED, CANCELLED): outcome, its key goes on, a dead letter that it was
/// halted for is settled.
void end_parked(const Subscription &subscription, const LockedEvent &locked, std::string_view status,
                const std::optional<std::string> &reason);

}  // namespace saga::store
