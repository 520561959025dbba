// Parked events: those that left the fast path of their lane. Rows that hold or await a key form the queue of
// that key, in the order of parked_id; the first of them holds it. Written by the worker that owns the lane and,
// under a row lock, by the operator's verbs.
#pragma once

#include "pg/memory.hpp"
#include "store/tracking.hpp"

namespace saga::store {

enum class WaitingFor : std::uint8_t { Retry, Snooze, Delay, Key, Halt, Replay, Suspect };
[[nodiscard]] std::string_view name(WaitingFor what) noexcept;

struct ParkedEvent {
  std::int64_t parked_id = 0;
  EventRef ref;
  std::optional<std::string> key;
  std::optional<std::string> external_id;
  std::int16_t depth = 0;
  bool holds_key = false;
  bool joins_key = false;  // its turn in the key's queue has still to be taken (a delay or a replay that is due)
  int attempts = 0;
  int crashes = 0;
  TimestampTz published_at = 0;
  std::optional<TimestampTz> first_failed_at;
  std::optional<Datum> event;  // saga.event; none: its storage is gone
};

struct ParkRequest {
  EventRef ref;
  std::optional<std::string_view> key;
  WaitingFor waiting_for = WaitingFor::Retry;
  bool holds_key = false;
  TimestampTz due_at = 0;
  int attempts = 0;
  int crashes = 0;
  const AttemptError *error = nullptr;
  std::optional<Datum> payload;  // replaces the event's own (an edited replay)
};

void park(const Subscription &subscription, const Lane &lane, const ParkRequest &request);

/// Parked events of a lane that are due and first in their queue. Their composites are allocated in memory.
std::vector<ParkedEvent> due_events(const Subscription &subscription, const Lane &lane, int limit,
                                    MemoryContext memory);

/// The next in the queue of a key after parked_id.
std::vector<ParkedEvent> queue_of_key(const Subscription &subscription, const Lane &lane, std::string_view key,
                                      std::int64_t after, int limit, MemoryContext memory);

/// A due event whose key is held by others goes to the end of that key's queue. False: nobody holds it.
bool join_queue(const Subscription &subscription, const Lane &lane, const ParkedEvent &event);

/// The event failed again, or is to wait longer.
void park_again(const Subscription &subscription, const Lane &lane, const ParkedEvent &event,
                const ParkRequest &request);

void unpark(const Subscription &subscription, const Lane &lane, const ParkedEvent &event);

/// The first in the queue of a key becomes due now.
void release_queue(const Subscription &subscription, const Lane &lane, std::string_view key);

/// Which of these keys have a queue.
std::vector<std::string> held_among(const Lane &lane, const std::vector<std::string> &keys);

/// Events in the queue of a key, counted up to limit.
std::int64_t queue_length(const Lane &lane, std::string_view key, int limit);

struct LaneWaits {
  bool any = false;       // anything is parked
  bool any_held = false;  // anything that holds a key, or the lane of a total order
  std::optional<TimestampTz> next_due;
};
LaneWaits lane_waits(const Lane &lane);

/// Locks parked rows until the end of the transaction and answers which of them are still there. One that an operator
/// works on is left out: what is not answered must not run.
std::vector<std::int64_t> lock_rows(const Lane &lane, const std::vector<std::int64_t> &parked_ids);

}  // namespace saga::store
